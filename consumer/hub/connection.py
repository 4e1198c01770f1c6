"""One client's connection: the handshake, frames to the session they belong to, and the end.

Whatever a client sends, the worst that happens is that its own connection is closed with an error
that says why.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Any, cast

import structlog

from consumer.hub import performatives as p
from consumer.hub.attaching import attach
from consumer.hub.codec import CodecError
from consumer.hub.faults import Kind
from consumer.hub.frames import FrameReader
from consumer.hub.links import ReceiverLink, SenderLink
from consumer.hub.namespace import Namespace
from consumer.hub.outlet import Outlet
from consumer.hub.performatives import AmqpError
from consumer.hub.session import Session

_log = structlog.get_logger("inturn.hub")
_CHANNEL_MAX = 65_535
_CONTAINER = "inturn-hub"
_SESSION_FRAMES = {p.ATTACH, p.FLOW, p.TRANSFER, p.DISPOSITION, p.DETACH, p.END}
_WATCH_S_MIN = 0.01


class _Stage(Enum):
    """What is expected of the client."""

    FIRST_HEADER = auto()
    SASL_INIT = auto()
    AMQP_HEADER = auto()
    OPEN = auto()
    FRAMES = auto()
    NOTHING = auto()


class Connection(asyncio.Protocol):
    """The hub's end of a connection."""

    outlet: Outlet
    _transport: asyncio.Transport

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.authorized = False
        self.frame_bytes_max = p.FRAME_BYTES_MIN
        self._reader = FrameReader(namespace.limits.frame_bytes_max)
        self._stage = _Stage.FIRST_HEADER
        self._sessions: dict[int, Session] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at_s = 0.0
        self._idle_timeout_s = 0.0
        """The client's: it wants a sign of life within this time. 0: it does not care."""

    # -- the transport's calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, or turn it away."""
        self._transport = cast("asyncio.Transport", transport)
        faults, limits = self.namespace.faults, self.namespace.limits
        self.outlet = Outlet(self._transport, limits.write_buffer_bytes_max)
        if faults.has(Kind.REFUSE) or len(self.namespace.peers) >= limits.connections_max:
            self._stage = _Stage.NOTHING
            self._transport.abort()
            return
        self.namespace.enter(self)
        self._heard_at_s = asyncio.get_running_loop().time()
        if faults.has(Kind.MUTE):
            self._stage = _Stage.NOTHING
            return
        self._watch()
        self.reconsider()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason changes nothing
        """Let go of everything."""
        self._stage = _Stage.NOTHING
        self.namespace.leave(self)
        self.outlet.gone()
        if self._timer is not None:
            self._timer.cancel()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.closed()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; those of a client that gets no answer any more are not kept."""
        if self._stage is _Stage.NOTHING:
            return
        self._heard_at_s = asyncio.get_running_loop().time()
        self._reader.feed(data)
        self._consume()

    def pause_writing(self) -> None:
        """The client does not take what it asked for."""
        self.outlet.fill_up()

    def resume_writing(self) -> None:
        """The client takes again."""
        self.outlet.drain()

    # -- receiving -----------------------------------------------------------------------------------

    def _consume(self) -> None:
        try:
            while self._stage is not _Stage.NOTHING and not self.outlet.frozen and self._take_next():
                pass
        except CodecError as error:
            self._fail(AmqpError("amqp:decode-error", str(error)))
        except AmqpError as error:
            self._fail(error)
        self.outlet.flush()

    def _take_next(self) -> bool:
        """Take one header or frame; says whether there was a whole one."""
        if self._stage in {_Stage.FIRST_HEADER, _Stage.AMQP_HEADER}:
            header = self._reader.read_header()
            if header is not None:
                self._take_header(header)
            return header is not None
        found = self._reader.read_frame()
        if found is None:
            return False
        kind, channel, body = found
        if not body:
            return True  # a sign of life
        frame = p.parse(body)
        if self._stage is _Stage.SASL_INIT and kind == 1:
            self._take_sasl(frame)
        elif self._stage is _Stage.OPEN and kind == 0 and frame.code == p.OPEN:
            self._take_open(frame.fields)
        elif self._stage is _Stage.FRAMES and kind == 0:
            self._take_frame(channel, frame)
        else:
            raise AmqpError("amqp:illegal-state", "The frame does not belong here.")
        return True

    def _take_header(self, header: bytes) -> None:
        if header == p.SASL_HEADER and self._stage is _Stage.FIRST_HEADER:
            self._stage = _Stage.SASL_INIT
            self.outlet.send_raw([p.SASL_HEADER, p.frame(0, p.sasl_mechanisms(), sasl=True)])
        elif header == p.AMQP_HEADER:
            self._stage = _Stage.OPEN
            self.outlet.send_raw([p.AMQP_HEADER])
        else:
            self.outlet.send_raw([p.SASL_HEADER])  # the specification's way to say what is spoken here
            self._close()

    def _take_sasl(self, frame: p.Performative) -> None:
        mechanism, first = frame.fields[0], frame.fields[1] if len(frame.fields) > 1 else None
        if frame.code != p.SASL_INIT:
            raise AmqpError("amqp:not-allowed", "A sasl-init was expected.")
        accepted = mechanism in {"ANONYMOUS", "MSSBCBS", "EXTERNAL"}
        if mechanism == "PLAIN" and isinstance(first, bytes):
            _, user, password = [*first.split(b"\0"), b"", b"", b""][:3]
            texts = user.decode("utf-8", "replace"), password.decode("utf-8", "replace")
            accepted = self.authorized = self.namespace.tokens.accepts_password(*texts)
        self._stage = _Stage.AMQP_HEADER
        self.outlet.send_raw([p.frame(0, p.sasl_outcome(accepted=accepted), sasl=True)])
        if not accepted:
            self._close()

    def _take_open(self, fields: list[Any]) -> None:
        limits = self.namespace.limits
        self.outlet.send(
            0, p.open_connection(_CONTAINER, limits.frame_bytes_max, _CHANNEL_MAX, limits.idle_timeout_ms)
        )
        self._stage = _Stage.FRAMES
        wanted = p.number(fields[2], "max-frame-size", default=2**32 - 1)
        if wanted < p.FRAME_BYTES_MIN:
            raise AmqpError("amqp:invalid-field", f"The max-frame-size is below {p.FRAME_BYTES_MIN} bytes.")
        self.frame_bytes_max = min(wanted, limits.frame_bytes_max)
        self._idle_timeout_s = p.number(fields[4], "idle-time-out", default=0) / 1_000
        self._watch()

    def _take_frame(self, channel: int, frame: p.Performative) -> None:
        if frame.code == p.CLOSE:
            self.outlet.send(0, p.close())
            self._close()
            return
        if frame.code == p.BEGIN:
            self._begin(channel, frame.fields)
            return
        if frame.code not in _SESSION_FRAMES:
            raise AmqpError("amqp:not-allowed", "The frame is not allowed now.")
        session = self._sessions.get(channel)
        if session is None:
            return  # the Python client detaches links of sessions that it has ended
        match frame.code:
            case p.ATTACH:
                attach(self, session, p.parse_attach(frame.fields))
                self.reconsider()
            case p.FLOW:
                session.on_flow(frame.fields)
            case p.TRANSFER:
                session.on_transfer(frame.fields, frame.payload)
            case p.DETACH:
                session.on_detach(frame.fields)
            case p.END:
                del self._sessions[channel]
                session.closed()
                self.outlet.send(channel, p.end())
            case _:
                pass  # a disposition: but everything is sent settled

    def _begin(self, channel: int, fields: list[Any]) -> None:
        if channel in self._sessions:
            raise AmqpError("amqp:illegal-state", f"Channel {channel} has a session already.")
        if len(self._sessions) >= self.namespace.limits.sessions_max:
            raise AmqpError("amqp:resource-limit-exceeded", "The connection has too many sessions.")
        session = Session(self, channel, fields)
        self._sessions[channel] = session
        session.start()

    # -- ending --------------------------------------------------------------------------------------

    def _fail(self, error: AmqpError) -> None:
        """Close with an error, if the client has come far enough to understand one."""
        self.namespace.totals.protocol_errors += 1
        _log.warning("A client was disconnected for what it sent.", error=str(error))
        self._say_goodbye(error)

    def shut_down(self) -> None:
        """Close, because the hub stops."""
        self._say_goodbye(AmqpError("amqp:connection:forced", "The hub stops."))

    def _say_goodbye(self, error: AmqpError) -> None:
        if self._stage is _Stage.FRAMES:
            self.outlet.send(0, p.close(error))
        self._close()

    def _close(self) -> None:
        self._stage = _Stage.NOTHING
        self._reader.clear()
        self.outlet.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._transport.abort()

    # -- what faults and time change -----------------------------------------------------------------

    def entity_links(self) -> list[ReceiverLink | SenderLink]:
        """The links to event hubs that are in use."""
        links = [link for session in self._sessions.values() for link in session.links.values()]
        return [link for link in links if isinstance(link, ReceiverLink | SenderLink) and not link.ended]

    def reconsider(self) -> None:
        """Stall, or go on, as the faults have it now."""
        faults = self.namespace.faults
        links = self.entity_links()
        stalled = faults.has_everywhere(Kind.STALL) or any(
            faults.has(Kind.STALL, link.address) for link in links
        )
        for link in links:
            self.outlet.schedule(link)  # one that was slow is not to wait until its next event was due
        if stalled == self.outlet.frozen or self._transport.is_closing():
            return
        if stalled:
            self.outlet.flush()
            self.outlet.frozen = True
            self._transport.pause_reading()
        else:
            self._heard_at_s = asyncio.get_running_loop().time()
            self.outlet.thaw()
            self._transport.resume_reading()
            self._consume()

    def _watch(self) -> None:
        """Give signs of life if the client wants them, and drop a client that gives none."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        now_s, ours_s = loop.time(), self.namespace.limits.idle_timeout_ms / 1_000
        if now_s - self._heard_at_s >= ours_s and not self.outlet.frozen:
            self.namespace.totals.idle_drops += 1
            self._say_goodbye(AmqpError("amqp:resource-limit-exceeded", "Nothing was heard for too long."))
            return
        silent_s = now_s - self.outlet.said_at_s
        if self._idle_timeout_s and silent_s >= self._idle_timeout_s / 3 and not self.outlet.frozen:
            self.outlet.send_raw([p.EMPTY_FRAME])
        interval_s = min(ours_s / 4, self._idle_timeout_s / 4 if self._idle_timeout_s else ours_s)
        self._timer = loop.call_later(max(interval_s, _WATCH_S_MIN), self._watch)
