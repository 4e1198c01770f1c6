"""The receiving end of one open link: bytes in as they come, credit out before it runs dry.

The client has connected, authenticated and attached; from then on its socket's bytes come here instead of to
its own reader. What is no delivery goes to the client's own handler, and the client's own checks run
beside: signs of life in both directions, its token, the state of the link.
"""

# ruff: noqa: SLF001 - the client's connection, session and link are kept as they would keep themselves

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Any, cast

from azure.eventhub._pyamqp._decode import decode_frame
from azure.eventhub._pyamqp._encode import encode_frame
from azure.eventhub._pyamqp.constants import ConnectionState, LinkState
from azure.eventhub._pyamqp.performatives import FlowFrame

from consumer.sources.amqp_columns import Columns
from consumer.sources.amqp_frames import FrameError, FrameParser

TICK_S = 0.5
"""How often the client's own checks run when nothing else calls for them."""
WAITING_BYTES_MAX = 32 * 1024 * 1024
"""Of messages that wait to be handed over; beyond it nothing is read from the socket."""
_TOP_UP_PART = 4
"""Credit is topped up when this part of it can be given: early enough that the hub never waits for it."""
_WRAP = 2**32
_ATTACHED = LinkState.ATTACHED


class Inbox:
    """Messages of one partition that came and were not handed over; it outlives the links that bring them."""

    def __init__(self, prefetch: int) -> None:
        self.columns = Columns()
        self.prefetch = prefetch
        """Messages that may be here or on their way."""
        self.waiting_bytes = 0
        self.in_hand = 0
        """Messages that are being handed over."""
        self.has_rows = asyncio.Event()
        self.is_closed = False
        """Nothing comes any more."""

    def take(self, count: int) -> Columns:
        """Take the oldest `count` messages, or all there are."""
        there = len(self.columns)
        taken = self.columns.take(count)
        self.waiting_bytes -= self.waiting_bytes * len(taken) // max(there, 1)
        if not self.columns and not self.is_closed:
            self.has_rows.clear()
        self.in_hand = len(taken)
        return taken


class Stream(asyncio.Protocol):
    """Takes the place of the reader on the transport of a link that has just been attached."""

    def __init__(self, handler: Any, inbox: Inbox) -> None:
        """`handler` is the client's own for one link. Raises `ConnectionError` if it has broken."""
        self._handler = handler
        self._connection = handler._connection
        self._session = handler._session
        self._link = handler._link
        self._inbox = inbox
        channels = [
            channel
            for channel, session in self._connection._incoming_endpoints.items()
            if session is self._session
        ]
        client_transport = self._connection._transport
        if not channels or client_transport.writer is None:
            raise ConnectionError("The connection was closed while its link was being opened.")
        self._parser = FrameParser(
            inbox.columns, channels[0], self._link.remote_handle, self._connection._max_frame_size
        )
        self._window = self._session.target_incoming_window
        self._transfers = self._deliveries = 0
        self._failure: Exception | None = None
        self._has_news = asyncio.Event()
        self._is_over = False
        self._is_paused = False
        self._writer: asyncio.StreamWriter = client_transport.writer
        self._transport = cast("asyncio.Transport", self._writer.transport)
        self._take_over(client_transport)

    def _take_over(self, client_transport: Any) -> None:
        """Have the bytes come here from now on, first those that the client has not read."""
        reader: asyncio.StreamReader = client_transport.reader
        unread = client_transport._read_buffer.read() + bytes(reader._buffer)  # type: ignore[attr-defined]
        self._former = cast("asyncio.Protocol", self._transport.get_protocol())
        self._transport.set_protocol(self)
        if reader.at_eof() or self._transport.is_closing():
            raise ConnectionError("The connection was closed while its link was being opened.")
        self._transport.resume_reading()
        if unread:
            self.data_received(unread)

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Parse what came; the other side of the event loop takes it from there."""
        if self._is_over or self._failure is not None:
            return
        self._connection._last_frame_received_time = time.time()
        self._inbox.waiting_bytes += len(data)
        self._advance(lambda: self._parser.feed(data))

    def eof_received(self) -> None:
        """The hub has closed its side."""
        self._fail(ConnectionError("The hub has closed the connection."))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; the client's own protocol wants to know that too."""
        self._fail(exc or ConnectionError("The connection was closed."))
        self._former.connection_lost(exc)

    def pause_writing(self) -> None:
        """The peer takes nothing."""
        self._former.pause_writing()

    def resume_writing(self) -> None:
        """The peer takes again."""
        self._former.resume_writing()

    # The link.

    async def tend(self) -> None:
        """Keep the link alive until it ends. Raises why it ended, as the client would raise it."""
        self.top_up()
        while True:
            try:
                async with asyncio.timeout(TICK_S):
                    await self._has_news.wait()
            except TimeoutError:
                pass
            self._has_news.clear()
            while self._parser.other is not None and self._failure is None:
                await self._leave_to_client(*self._parser.other)
                self._advance(self._parser.proceed)
            await self._check()
            if self._failure is not None:
                raise self._failure

    async def _leave_to_client(self, channel: int, body: bytes) -> None:
        try:
            await self._connection._process_incoming_frame(channel, decode_frame(memoryview(body)))
        except (AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
            raise FrameError(f"The client cannot make sense of a frame: {error!r}.") from error

    def close(self) -> None:
        """Take nothing more in."""
        self._is_over = True

    def top_up(self) -> None:
        """Give as much credit as there is room for, if that is worth a frame."""
        inbox, link = self._inbox, self._link
        if self._is_paused and inbox.waiting_bytes < WAITING_BYTES_MAX // 2:
            self._is_paused = False
            self._transport.resume_reading()
        there = len(inbox.columns) + inbox.in_hand
        if not there:
            inbox.waiting_bytes = 0
        room = inbox.prefetch - there - link.current_link_credit
        is_worth_it = room > 0 and room >= inbox.prefetch // _TOP_UP_PART
        if self._is_over or not (is_worth_it or self._session.incoming_window < self._window // 2):
            return
        if self._connection.state is not ConnectionState.OPENED or self._failure is not None:
            return
        link.current_link_credit += max(room, 0)
        self._session.incoming_window = self._window
        self._send_flow()

    def _send_flow(self) -> None:
        session, link = self._session, self._link
        flow = FlowFrame(
            next_incoming_id=session.next_incoming_id,
            incoming_window=session.incoming_window,
            next_outgoing_id=session.next_outgoing_id,
            outgoing_window=session.outgoing_window,
            handle=link.handle,
            delivery_count=link.delivery_count,
            link_credit=link.current_link_credit,
            available=None,
            drain=None,
            echo=None,
            properties=None,
        )
        head, performative = encode_frame(flow)
        self._connection._last_frame_sent_time = time.time()
        self._writer.write(head + struct.pack(">H", session.channel) + (performative or b""))

    def _advance(self, work: Callable[[], None]) -> None:
        """Parse, then keep the client's books as it would have kept them."""
        inbox, parser = self._inbox, self._parser
        try:
            work()
        except FrameError as error:
            self._fail(error)
        transfers, deliveries = parser.transfers - self._transfers, parser.deliveries - self._deliveries
        self._transfers, self._deliveries = parser.transfers, parser.deliveries
        session, link = self._session, self._link
        if transfers:
            session.next_incoming_id = (session.next_incoming_id + transfers) % _WRAP
            session.remote_outgoing_window -= transfers
            session.incoming_window -= transfers
            link.delivery_count = (link.delivery_count + deliveries) % _WRAP
            link.current_link_credit -= deliveries
            if deliveries:
                inbox.has_rows.set()
            self.top_up()
        if parser.other is not None or self._failure is not None:
            self._has_news.set()
        if inbox.waiting_bytes > WAITING_BYTES_MAX and inbox.columns and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    async def _check(self) -> None:
        """Let the client look after its connection, its token and its link; it raises what is wrong."""
        connection = self._connection
        if self._is_paused:
            connection._last_frame_received_time = time.time()  # silence is our own doing
        await connection.listen(wait=False, batch=0)  # reads nothing
        if connection._error is not None:
            raise connection._error
        authenticator = self._handler._cbs_authenticator
        if authenticator is not None:
            await authenticator.handle_token()
        if self._link.get_state() is not _ATTACHED:
            raise ConnectionError("The link is not attached any more.")

    def _fail(self, error: Exception) -> None:
        if self._failure is None and not self._is_over:
            self._failure = error
            self._has_news.set()
