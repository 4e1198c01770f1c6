"""Receive a partition on the client's own link, with a receive loop of our own in place of the client's.

The client's loop reads frame by frame and sleeps 50 ms at a time. This one hands over what the socket had
as soon as it is parsed. Connecting, tokens, links and what is wrong with them stay the client's business;
after a break it reads on behind the last message that came whole. What nobody foresaw makes the partition go
back to the client's loop, for as long as this receiver lives.
"""

# ruff: noqa: SLF001 - the client's receiver is opened, closed and told where to go on as it would do it

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from azure.core.exceptions import AzureError
from azure.eventhub._pyamqp.error import AMQPException, AMQPLinkError, ErrorCondition
from azure.eventhub.exceptions import EventHubError

from consumer.sources.amqp_columns import Columns
from consumer.sources.amqp_frames import FrameError
from consumer.sources.eventhub_errors import one_line
from consumer.sources.eventhub_internals import cut
from consumer.sources.eventhub_stream import TICK_S, Inbox, Stream

_CLOSING_S = 5.0
"""A broken link that takes longer to be closed is cut off."""
_UNREADABLE_MAX = 2
"""So many times in a row a hub may send what cannot be parsed; then the client shall try."""
_FORESEEN: Final = (AMQPException, EventHubError, AzureError, OSError, TimeoutError, FrameError)
_UNFORESEEN: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)

_log = structlog.get_logger("inturn.eventhub")

Take = Callable[[Columns], Awaitable[None]]


class FastReceive:
    """Receives for one receiver of the client, in place of its method of that name."""

    def __init__(self, receiver: Any, *, take: Take, heard: Callable[[], None]) -> None:
        """`take` gets messages and waits for room for them; `heard` is called time and again."""
        self._receiver = receiver
        self._clients_own = receiver.receive
        self._take = take
        self._heard = heard
        self._inbox = Inbox(receiver._prefetch)
        self._stream: Stream | None = None
        self._offset: str | None = None
        """Behind which to go on; None until something came."""
        self._unreadable = 0
        self.is_given_up = False
        """The client's own loop receives."""
        # Its keep-alive would read from the socket; here the same is done by `Stream.tend`.
        self._keep_alive, receiver._keep_alive = receiver._keep_alive, 0

    async def __call__(self, batch: Any, max_batch_size: int, max_wait_time: Any) -> None:
        """Receive until cancelled. Raises what ends the partition: a stolen link, or what `take` raises."""
        if not self.is_given_up:
            await self._receive(max_batch_size)
        await self._clients_own(batch, max_batch_size, max_wait_time)

    async def _receive(self, count_max: int) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read())
                handing = tasks.create_task(self._hand_over(count_max))
                beating = tasks.create_task(self._beat())
                await asyncio.wait((reading, handing), return_when=asyncio.FIRST_COMPLETED)
                if not handing.done():
                    await asyncio.wait((handing,))
                beating.cancel()
                if handing.cancelled():
                    raise asyncio.CancelledError
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _beat(self) -> None:
        """Say that somebody is there, though the client may be busy for long, with a token say."""
        while True:
            self._heard()
            await asyncio.sleep(TICK_S)

    async def _hand_over(self, count_max: int) -> None:
        """Hand over what is there, as much at once as may be, until nothing comes any more."""
        inbox = self._inbox
        while True:
            await inbox.has_rows.wait()
            columns = inbox.take(count_max)
            if not columns:
                if inbox.is_closed:
                    return
                continue
            self._offset = columns.offsets[-1]
            self._unreadable = 0
            try:
                await self._take(columns)
            finally:
                inbox.in_hand = 0
            if self._stream is not None:
                self._stream.top_up()

    async def _read(self) -> None:
        """Keep a link open, opening it anew whenever it breaks; returns when the client shall do it."""
        is_ours = False
        """Whether it is our own code that is to blame for what is raised."""
        while not (is_ours or self._unreadable > _UNREADABLE_MAX):
            is_open = False
            try:
                await self._receiver._open()
                is_open = True
                self._stream = Stream(self._receiver._handler, self._inbox)
                await self._stream.tend()
            except _FORESEEN as error:
                await self._mend(error)
                why = str(error)
            except _UNFORESEEN as error:
                await self._mend(error)
                is_ours, why = is_open, repr(error)
        self._give_up(why)

    async def _mend(self, error: Exception) -> None:
        """Close a broken link, as the client would. Raises if another receiver has taken its place."""
        receiver = self._receiver
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if isinstance(error, AMQPLinkError) and error.condition == ErrorCondition.LinkStolen:
            raise await receiver._handle_exception(error)
        if isinstance(error, FrameError):
            self._unreadable += 1
            _log.warning(
                "What the hub sent could not be read; the link is opened anew.",
                partition=receiver._partition,
                error=str(error),
            )
        offsets = self._inbox.columns.offsets
        offset = offsets[-1] if offsets else self._offset
        if offset:
            receiver._offset, receiver._offset_inclusive = offset, False
        if not receiver.running:
            return  # it was being opened; that closes by itself what is left of it
        _log.debug(
            "A link has broken; it is opened anew.", partition=receiver._partition, error=one_line(error)
        )
        try:
            async with asyncio.timeout(_CLOSING_S):
                await receiver._handle_exception(error)
        except (TimeoutError, EventHubError):
            cut([receiver])
            receiver.running = False

    def _give_up(self, why: str) -> None:
        _log.warning(
            "The fast receive path met what it does not know; the partition goes on with the client's own.",
            partition=self._receiver._partition,
            error=why,
        )
        self.is_given_up = True
        self._receiver._keep_alive = self._keep_alive
        self._inbox.is_closed = True
        self._inbox.has_rows.set()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
