"""One client's connection: bytes to frames, the handshake, and frames to the session they belong to.

Whatever a client sends, the worst that happens is that its own connection is closed with an error
that says why.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any, cast

import structlog

from consumer.hub import performatives as p
from consumer.hub.addresses import CBS, MANAGEMENT, parse_address, path_of
from consumer.hub.codec import Array, CodecError, Symbol
from consumer.hub.faults import BUSY, Kind
from consumer.hub.faults import Link as EntityLink
from consumer.hub.links import RUNTIME_METRIC, ReceiverLink, SenderLink
from consumer.hub.management import ReplyLink, RequestLink
from consumer.hub.namespace import Namespace
from consumer.hub.performatives import AmqpError, LinkRequest
from consumer.hub.session import Link, Session

_log = structlog.get_logger("inturn.hub")
_FRAME_HEAD = struct.Struct(">IBBH")
_CHANNEL_MAX = 65_535
_CAPABILITIES = ("com.microsoft:georeplication", RUNTIME_METRIC)
AnyLink = ReceiverLink | SenderLink | ReplyLink | RequestLink


class _Stage(Enum):
    HEADER = auto()
    SASL = auto()
    AMQP = auto()
    OPEN = auto()
    CLOSED = auto()


class Connection(asyncio.Protocol):
    """The hub's end of a connection."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.authorized = False
        self.frame_bytes_max = p.FRAME_BYTES_MIN
        self._transport: asyncio.Transport | None = None
        self._stage = _Stage.HEADER
        self._input = bytearray()
        self._output: list[bytes] = []
        self._sessions: dict[int, Session] = {}
        self._ready: dict[Link, None] = {}
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._said_at = 0.0
        self._idle_timeout_s = 0.0  # the client's
        self._full = False
        self._mute = False
        self._stalled = False

    # -- the transport's calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, or turn it away."""
        self._transport = cast("asyncio.Transport", transport)
        faults, limits = self.namespace.faults, self.namespace.limits
        if faults.has(Kind.REFUSE) or len(self.namespace.peers) >= limits.connections_max:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=limits.write_buffer_bytes_max)
        self.namespace.enter(self)
        self._mute = faults.has(Kind.MUTE) is not None
        self._heard_at = self._said_at = asyncio.get_running_loop().time()
        self._watch()
        self.reconsider()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason changes nothing
        """Let go of everything."""
        self._stage = _Stage.CLOSED
        self.namespace.leave(self)
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.closed()
        self._ready.clear()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; those of a client that gets no answer are not kept."""
        if self._mute or self._stage is _Stage.CLOSED:
            return
        self._heard_at = asyncio.get_running_loop().time()
        self._input += data
        if not self._stalled:
            self._consume()

    def pause_writing(self) -> None:
        """The client does not take what it asked for: send nothing more for now."""
        self._full = True

    def resume_writing(self) -> None:
        """The client takes again."""
        self._full = False
        self._plan_turn()

    # -- sending -----------------------------------------------------------------------------------

    def send(self, channel: int, body: bytes) -> None:
        """Put a frame out."""
        self._output.append(p.frame(channel, body))
        self._plan_turn()

    def send_raw(self, parts: list[bytes]) -> None:
        """Put whole frames out."""
        self._output += parts
        self._plan_turn()

    def schedule(self, link: Link) -> None:
        """Have a link deliver soon."""
        self._ready[link] = None
        self._plan_turn()

    def _plan_turn(self) -> None:
        if self._turn is None and not self._stalled and self._stage is not _Stage.CLOSED:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Let every ready link deliver a little, then give the other connections their turn."""
        self._turn = None
        if not self._full:
            ready, self._ready = self._ready, {}
            for link in ready:
                if link.deliver():
                    self._ready[link] = None
        self._flush()
        if self._ready and not self._full:
            self._plan_turn()

    def _flush(self) -> None:
        if self._output and self._transport is not None and not self._stalled:
            parts, self._output = self._output, []
            self._said_at = asyncio.get_running_loop().time()
            self._transport.write(b"".join(parts))

    # -- receiving ---------------------------------------------------------------------------------

    def _consume(self) -> None:
        try:
            at = 0
            while (end := self._next_end(at)) > at:
                chunk = bytes(self._input[at:end])
                at = end
                self._take(chunk)
                if self._stage is _Stage.CLOSED or self._stalled:
                    break
            del self._input[:at]
        except CodecError as error:
            self._fail(AmqpError("amqp:decode-error", str(error)))
        except AmqpError as error:
            self._fail(error)
        self._flush()

    def _next_end(self, at: int) -> int:
        """Where the protocol header or frame that begins at `at` ends; `at` if it is not complete."""
        if len(self._input) - at < p.FRAME_HEADER_BYTES:
            return at
        if self._expects_header(at):
            return at + len(p.AMQP_HEADER)
        size, offset, _, _ = _FRAME_HEAD.unpack_from(self._input, at)
        if (
            not p.FRAME_HEADER_BYTES <= size <= self.namespace.limits.frame_bytes_max
            or not 2 <= offset <= size // 4
        ):
            raise AmqpError("amqp:connection:framing-error", "The frame has an impossible size.")
        return at + int(size) if len(self._input) - at >= size else at

    def _expects_header(self, at: int) -> bool:
        return self._stage is _Stage.HEADER or (
            self._stage is _Stage.AMQP and self._input[at : at + 4] == b"AMQP"
        )

    def _take(self, chunk: bytes) -> None:
        if self._expects_header_now(chunk):
            self._take_header(chunk)
            return
        _, offset, kind, channel = _FRAME_HEAD.unpack_from(chunk)
        body = chunk[4 * offset :]
        if not body:
            return  # a sign of life
        frame = p.parse(body)
        if self._stage is _Stage.SASL and kind == 1:
            self._take_sasl(frame.code, frame.fields)
        elif kind == 0 and frame.code == p.OPEN and self._stage is _Stage.AMQP:
            self._take_open(frame.fields)
        elif kind == 0 and self._stage is _Stage.OPEN:
            self._take_frame(channel, frame)
        else:
            raise AmqpError("amqp:illegal-state", "The frame does not belong here.")

    def _expects_header_now(self, chunk: bytes) -> bool:
        return self._stage is _Stage.HEADER or (self._stage is _Stage.AMQP and chunk[:4] == b"AMQP")

    def _take_header(self, header: bytes) -> None:
        if header == p.SASL_HEADER and self._stage is _Stage.HEADER:
            self._stage = _Stage.SASL
            self._output += (p.SASL_HEADER, p.frame(0, p.sasl_mechanisms(), sasl=True))
        elif header == p.AMQP_HEADER:
            self._stage = _Stage.AMQP
            self._output.append(p.AMQP_HEADER)
        else:
            self._output.append(p.SASL_HEADER)  # the specification's way to say what is spoken here
            self._flush()
            self._close_transport()

    def _take_sasl(self, code: int, fields: list[Any]) -> None:
        if code != p.SASL_INIT:
            raise AmqpError("amqp:not-allowed", "A sasl-init was expected.")
        accepted = fields[0] in {"ANONYMOUS", "MSSBCBS", "EXTERNAL"}
        if fields[0] == "PLAIN" and isinstance(fields[1], bytes):
            _, user, password = [*fields[1].split(b"\0"), b"", b"", b""][:3]
            texts = user.decode("utf-8", "replace"), password.decode("utf-8", "replace")
            accepted = self.authorized = self.namespace.tokens.accepts_password(*texts)
        self._output.append(p.frame(0, p.sasl_outcome(accepted=accepted), sasl=True))
        self._stage = _Stage.AMQP
        if not accepted:
            self._flush()
            self._close_transport()

    def _take_open(self, fields: list[Any]) -> None:
        limits = self.namespace.limits
        wanted = p.number(fields[2], "max-frame-size", default=2**32 - 1)
        if wanted < p.FRAME_BYTES_MIN:
            raise AmqpError("amqp:invalid-field", f"The max-frame-size is below {p.FRAME_BYTES_MIN} bytes.")
        self.frame_bytes_max = min(wanted, limits.frame_bytes_max)
        self._idle_timeout_s = p.number(fields[4], "idle-time-out", default=0) / 1_000
        self._stage = _Stage.OPEN
        self.send(
            0, p.open_connection("inturn-hub", limits.frame_bytes_max, _CHANNEL_MAX, limits.idle_timeout_ms)
        )
        self._watch()

    def _take_frame(self, channel: int, frame: p.Performative) -> None:
        if frame.code == p.CLOSE:
            self.send(0, p.close())
            self._flush()
            self._close_transport()
            return
        if frame.code == p.BEGIN:
            self._begin(channel, frame.fields)
            return
        session = self._sessions.get(channel)
        if session is None:
            return  # the Python client detaches links of sessions that it has ended
        match frame.code:
            case p.ATTACH:
                self._attach(session, p.parse_attach(frame.fields))
            case p.FLOW:
                session.on_flow(frame.fields)
            case p.TRANSFER:
                session.on_transfer(frame.fields, frame.payload)
            case p.DETACH:
                session.on_detach(frame.fields)
            case p.END:
                del self._sessions[channel]
                session.closed()
                self.send(channel, p.end())
            case p.DISPOSITION:
                pass  # everything is sent settled
            case _:
                raise AmqpError("amqp:not-allowed", "The frame is not allowed now.")

    def _begin(self, channel: int, fields: list[Any]) -> None:
        if channel in self._sessions:
            raise AmqpError("amqp:illegal-state", f"Channel {channel} has a session already.")
        if len(self._sessions) >= self.namespace.limits.sessions_max:
            raise AmqpError("amqp:resource-limit-exceeded", "The connection has too many sessions.")
        session = Session(self, channel, fields)
        self._sessions[channel] = session
        session.start()

    def _attach(self, session: Session, request: LinkRequest) -> None:
        """Answer an attach, and detach at once if what the link is for is refused: so does the service."""
        capabilities = [Symbol(name) for name in _CAPABILITIES if name in request.desired_capabilities]
        limit = self.namespace.limits.message_bytes_max
        answer = p.attach(request, limit, Array(capabilities) if capabilities else None)
        try:
            link = self._make_link(session, request)
            session.attach(link)
        except AmqpError as error:
            self.send(session.channel, answer)
            self.send(session.channel, p.detach(request.handle, error))
            return
        self.send(session.channel, answer)
        try:
            link.start()
        except AmqpError as error:
            session.end_link(link, error)
        self.reconsider()

    def _make_link(self, session: Session, request: LinkRequest) -> AnyLink:
        if path_of(request.address) in {CBS, MANAGEMENT}:
            if path_of(request.address) == MANAGEMENT:
                self._demand_authorization()
            return ReplyLink(session, request) if request.client_receives else RequestLink(session, request)
        self._demand_authorization()
        address = parse_address(request.address)
        hub = self.namespace.hub(address.hub)
        if not request.client_receives:
            return SenderLink(session, request, hub, address)
        if address.group is None or address.partition is None:
            raise AmqpError("amqp:not-found", "A receiver needs a consumer group and a partition.")
        if self.namespace.faults.has(Kind.BUSY, address):
            raise BUSY
        return ReceiverLink(session, request, hub, address)

    def _demand_authorization(self) -> None:
        if not self.authorized:
            raise AmqpError("amqp:unauthorized-access", "No valid token was put to $cbs on this connection.")

    # -- ending ------------------------------------------------------------------------------------

    def _fail(self, error: AmqpError) -> None:
        """Close with an error, if the client has come far enough to understand one."""
        self.namespace.totals.protocol_errors += 1
        _log.warning("A client was disconnected for what it sent.", error=str(error))
        if self._stage in {_Stage.AMQP, _Stage.OPEN}:
            if self._stage is _Stage.AMQP:
                limits = self.namespace.limits
                self.send(0, p.open_connection("inturn-hub", limits.frame_bytes_max, _CHANNEL_MAX, 0))
            self.send(0, p.close(error))
        self._flush()
        self._close_transport()

    def _close_transport(self) -> None:
        self._stage = _Stage.CLOSED
        self._input.clear()
        if self._transport is not None:
            self._transport.close()

    def shut_down(self) -> None:
        """Say goodbye, because the hub stops."""
        if self._stage is _Stage.OPEN and not self._stalled:
            self.send(0, p.close(AmqpError("amqp:connection:forced", "The hub stops.")))
        self._flush()
        self._close_transport()

    def abort(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            self._transport.abort()

    # -- what time and faults change -----------------------------------------------------------------

    def entity_links(self) -> Iterable[EntityLink]:
        """The links to event hubs that are in use."""
        links = [link for session in self._sessions.values() for link in session.links.values()]
        return [link for link in links if isinstance(link, ReceiverLink | SenderLink) and not link.ended]

    def reconsider(self) -> None:
        """Stall, or go on, as the faults have it now."""
        stalls = [fault for fault in self.namespace.faults.active if fault.kind is Kind.STALL]
        stalled = any(
            not fault.scope.hub or any(fault.concerns(link.address) for link in self.entity_links())
            for fault in stalls
        )
        if stalled == self._stalled or self._transport is None or self._transport.is_closing():
            return
        if stalled:
            self._flush()
            self._stalled = True
            self._transport.pause_reading()
        else:
            self._stalled = False
            self._heard_at = asyncio.get_running_loop().time()
            self._transport.resume_reading()
            self._consume()
            self._plan_turn()

    def _watch(self) -> None:
        """Send signs of life when the client wants them, and drop a client that gives none."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        now, ours_s = loop.time(), self.namespace.limits.idle_timeout_ms / 1_000
        if now - self._heard_at >= ours_s and not self._stalled and not self._mute:
            self.namespace.totals.idle_drops += 1
            self.send(
                0, p.close(AmqpError("amqp:resource-limit-exceeded", "Nothing was heard for too long."))
            )
            self._flush()
            self._close_transport()
            return
        if self._idle_timeout_s and now - self._said_at >= self._idle_timeout_s / 3:
            self._output.append(p.EMPTY_FRAME)
            self._flush()
        interval_s = min(ours_s / 4, self._idle_timeout_s / 4 if self._idle_timeout_s else ours_s)
        self._timer = loop.call_later(max(interval_s, 0.01), self._watch)
