"""An event loop with a virtual clock, several make-believe processes, and no chance but its seed.

Every callback belongs to an *owner*, a process of the simulation, by the context that it runs in. Within one
owner callbacks run in the order in which they were scheduled, as asyncio promises and its own classes rely
on. Between owners nothing is promised by anybody, so whose callback comes next is drawn. Time stands still
while anything is ready and then jumps to the next timer.

An owner can be *killed*, after which nothing of it runs any more, no ``finally`` either, as in a process that
is dead; and *frozen*, when its callbacks wait while clocks and other owners go on.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

_CLOSES_MAX = 50
"""How often a killed coroutine may wait again while it is being closed."""


class Owner:
    """A make-believe process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_frozen = False
        self.steps = 0
        self.kill_after: int | None = None
        """Steps until it is killed."""
        self.on_kill: Callable[[Owner], None] = lambda _: None
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []

    def __repr__(self) -> str:
        return f"<{self.name}>"


_OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


STEPS_MAX = 1_000_000
"""Steps of one run: twenty times what the longest one takes."""


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, or something turns in a circle."""


class SimLoop(asyncio.AbstractEventLoop):
    """Runs owners until a coroutine of the world, which is an owner too, is through."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = Owner("world")
        self.steps = 0
        self.errors: list[str] = []
        """What nobody caught, of owners that were not killed."""
        self.before_step: Callable[[Owner], None] | None = None
        """Called before every step of an owner other than the world."""
        self._now_s = 0.0
        self._timers: list[tuple[float, int, Owner, asyncio.TimerHandle]] = []
        self._scheduled = 0
        self._runnable: list[Owner] = []
        self._owners: list[Owner] = [self.world]
        self._is_over = False
        self._outside: Context = copy_context()

    # Owners.

    def start(self, name: str, main: Coroutine[Any, Any, Any]) -> Owner:
        """Start a process."""
        owner = Owner(name)
        self._owners.append(owner)
        context = self._outside.copy()
        context.run(_OWNER.set, owner)
        self.create_task(main, name=f"main of {name}", context=context)
        return owner

    def current_owner(self) -> Owner:
        """Whose callback runs."""
        return _OWNER.get() or self.world

    def kill(self, owner: Owner) -> None:
        """Let nothing of a process run any more."""
        if owner.is_dead:
            return
        owner.is_dead = True
        owner.kill_after = None
        owner.ready.clear()
        if owner in self._runnable:
            self._runnable.remove(owner)
        owner.on_kill(owner)

    def freeze(self, owner: Owner) -> None:
        """Let the callbacks of a process wait."""
        owner.is_frozen = True
        if owner in self._runnable:
            self._runnable.remove(owner)

    def thaw(self, owner: Owner) -> None:
        """Let a frozen process go on."""
        owner.is_frozen = False
        if owner.ready and not owner.is_dead and owner not in self._runnable:
            self._runnable.append(owner)

    def outside(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Call something later that belongs to no process: it happens whoever is dead or frozen."""
        self.call_at(self._now_s + delay_s, callback, *args, context=self._outside)

    # Running.

    def run(self, main: Coroutine[Any, Any, Any], *, before_closing: Callable[[], None]) -> Any:
        """Run until a coroutine of the world is through; give its result.

        `before_closing` is called before what is left of the processes is closed.
        """
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main, name="world", context=self._outside.copy())
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)
            before_closing()
            self._close_everything()

    def _step(self) -> None:
        runnable = self._runnable
        if not runnable:
            self._advance()
            return
        owner = runnable[int(self.chance.random() * len(runnable))] if len(runnable) > 1 else runnable[0]
        handle = owner.ready.popleft()
        if not owner.ready:
            runnable.remove(owner)
        if handle.cancelled():
            return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Deadlock(f"{owner} turns in a circle: {handle!r}")
        if owner is not self.world:
            owner.steps += 1
            if self.before_step is not None:
                self.before_step(owner)
            if owner.kill_after is not None:
                owner.kill_after -= 1
                if owner.kill_after < 0:
                    self.kill(owner)
            if owner.is_dead:
                return
        handle._run()

    def _advance(self) -> None:
        """Jump to the next timer that still means something, and make ready all of its moment."""
        timers = self._timers
        while timers and (timers[0][3].cancelled() or timers[0][2].is_dead):
            heapq.heappop(timers)
        if not timers:
            raise Deadlock("nothing is ready, and no timer is set")
        self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= self._now_s:
            _, _, owner, timer = heapq.heappop(timers)
            if not timer.cancelled():
                self._enqueue(owner, timer)

    def _enqueue(self, owner: Owner, handle: asyncio.Handle) -> None:
        if owner.is_dead or self._is_over:
            return
        owner.ready.append(handle)
        if len(owner.ready) == 1 and not owner.is_frozen:
            self._runnable.append(owner)

    def _close_everything(self) -> None:
        """Dispose of what was killed or is still waiting, so that the garbage collector has nothing to say.

        Only here, when everything has been recorded: closing a coroutine runs its ``finally``.
        """
        self._is_over = True
        for owner in self._owners:
            for task in owner.tasks:
                if task.done():
                    if not task.cancelled() and owner.is_dead:
                        task.exception()
                    continue
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
            owner.tasks.clear()

    def unfinished(self, owner: Owner) -> list[str]:
        """The names of tasks that a process has left behind."""
        return [task.get_name() for task in owner.tasks if not task.done()]

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(self._owner_of(context), handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._scheduled += 1
        if not self._is_over:
            heapq.heappush(self._timers, (when, self._scheduled, self._owner_of(context), timer))
        return timer

    def _owner_of(self, context: Context | None) -> Owner:
        owner = _OWNER.get() if context is None else context.get(_OWNER)
        return owner or self.world

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when their time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        tasks = self._owner_of(context).tasks
        tasks.append(task)
        if len(tasks) >= 200:
            tasks[:] = [each for each in tasks if not each.done()]
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """What a thread does is done at one moment, a little later."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - a thread hands over whatever was raised
                future.set_exception(error)

        self.call_later(self.chance.random() * 0.01, work)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_over:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._is_over

    def is_closed(self) -> bool:
        return self._is_over


def _close(coroutine: Any) -> None:
    """Close a coroutine although it may wait again in its ``finally``, as a task group does."""
    for _ in range(_CLOSES_MAX):
        try:
            coroutine.close()
        except RuntimeError as error:
            if "ignored GeneratorExit" in str(error):
                continue
            return
        except BaseException:  # noqa: BLE001 - whatever its `finally` could not do in a dead process
            return
        else:
            return
    raise AssertionError("a killed coroutine cannot be closed")
