"""Several callers, one delivery: what is brought within a window goes together.

There is no task behind it. The first who brings something leads: it waits for the window to close, and
delivers for all. If it is cut off, the next one leads, with the same things to deliver and so under the same
name, for whether the delivery had begun to take effect cannot be known. Nobody's call returns before what it
brought is delivered, and a delivery that fails fails for all of them.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
_LEAD = "lead"


class _Member(Generic[T]):
    """One call, and what it brought."""

    def __init__(self, things: Sequence[T]) -> None:
        self.things = things
        self.told: asyncio.Future[str | Exception | None] = asyncio.get_running_loop().create_future()
        """`_LEAD`; or how the delivery went: None, or why it failed."""

    def tell(self, news: str | Exception | None) -> bool:
        """False if it has gone."""
        if self.told.done():
            return False
        self.told.set_result(news)
        return True


class _Round(Generic[T]):
    """What goes together."""

    def __init__(self, closes_at_s: float) -> None:
        self.closes_at_s = closes_at_s
        self.members: list[_Member[T]] = []
        self.leader: _Member[T] | None = None
        self.full = asyncio.Event()
        self.things: list[T] | None = None
        """What is delivered; fixed when the delivery begins for the first time."""

    @property
    def count(self) -> int:
        """How many things were brought."""
        return sum(len(member.things) for member in self.members)


class Gathering(Generic[T]):
    """Gathers for `deliver`, which gets what is delivered together in the order in which it was brought."""

    def __init__(self, deliver: Callable[[list[T]], Awaitable[None]], *, count_max: int) -> None:
        """At `count_max` things the window closes at once; who comes later opens the next one."""
        self._deliver = deliver
        self._count_max = count_max
        self._open: _Round[T] | None = None

    async def bring(self, things: Sequence[T], window_s: float) -> None:
        """Have things delivered with what others bring, and return when they are; raises what that raised.

        The first who brings something says for how long, in seconds, others may join.
        """
        member = _Member(things)
        round_ = self._joined(member, window_s)
        try:
            if round_.leader is None:
                round_.leader = member
            else:
                news = await member.told
                if news is None:
                    return
                if isinstance(news, Exception):
                    raise news
            await self._lead(round_)
        except BaseException:
            self._leave(round_, member)
            raise

    def _joined(self, member: _Member[T], window_s: float) -> _Round[T]:
        now_s = asyncio.get_running_loop().time()
        round_ = self._open
        if round_ is None:
            round_ = self._open = _Round(now_s + window_s)
        round_.members.append(member)
        if round_.count >= self._count_max:
            self._close(round_)
        return round_

    def _close(self, round_: _Round[T]) -> None:
        round_.full.set()
        if self._open is round_:
            self._open = None

    async def _lead(self, round_: _Round[T]) -> None:
        try:
            async with asyncio.timeout_at(round_.closes_at_s):
                await round_.full.wait()
        except TimeoutError:
            self._close(round_)
        if round_.things is None:
            round_.things = [thing for member in round_.members for thing in member.things]
        try:
            await self._deliver(round_.things)
        except Exception as error:
            self._tell_others(round_, error)
            raise
        # Whoever is cut off says nothing: the next one leads.
        self._tell_others(round_, None)

    def _tell_others(self, round_: _Round[T], failure: Exception | None) -> None:
        others = [member for member in round_.members if member is not round_.leader]
        round_.members.clear()
        for member in others:
            # Each its own: what is raised in several places gathers the traces of all of them.
            member.tell(copy.copy(failure))

    def _leave(self, round_: _Round[T], member: _Member[T]) -> None:
        if member not in round_.members:
            return
        round_.members.remove(member)
        if not member.told.done():
            member.told.cancel()
        if round_.leader is member:
            round_.leader = next((other for other in round_.members if other.tell(_LEAD)), None)
        if not round_.members and self._open is round_:
            self._open = None
