"""A session: the links that share it, and the window of frames that may be on their way to the client."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from consumer.hub import performatives as p
from consumer.hub.codec import UInt, encode, encode_list
from consumer.hub.namespace import Namespace
from consumer.hub.outlet import Outlet
from consumer.hub.performatives import AmqpError, LinkRequest

WINDOW = 65_536
"""Frames that a client may send before the hub grants more."""
_WRAP = 2**32


class Carrier(Protocol):
    """What a session needs of its connection."""

    namespace: Namespace
    outlet: Outlet
    authorized: bool
    frame_bytes_max: int
    """The largest frame that the client takes."""


class Link(Protocol):
    """One end of a link, the hub's."""

    request: LinkRequest
    ended: bool
    """The hub has detached it and waits for the client to do the same."""

    def on_flow(self, credit: int | None, delivery_count: int, *, drain: bool) -> None:
        """Take the client's word on credit."""

    def on_transfer(self, fields: list[Any], payload: bytes, /) -> None:
        """Take a transfer frame from the client. Raises `AmqpError` to end the link."""

    def deliver(self) -> bool:
        """Send what may be sent now; says whether there is more."""

    def flow_state(self) -> tuple[int, int, int]:
        """Handle, delivery count and credit, for a flow."""

    def closed(self) -> None:
        """The link is gone: let go of everything."""


class Session:
    """One session of a connection; channels and handles are the client's own numbers, used both ways."""

    def __init__(self, carrier: Carrier, channel: int, fields: list[Any]) -> None:
        self.carrier = carrier
        self.channel = channel
        self.links: dict[int, Link] = {}
        self.next_delivery_id = 0
        self.next_outgoing_id = 0
        self.window = p.number(fields[2], "incoming-window")
        """Frames that the client still takes."""
        self.next_incoming_id = p.number(fields[1], "next-outgoing-id")
        self._incoming_window = WINDOW
        self._handle_max = min(p.number(fields[4], "handle-max", default=_WRAP - 1), _WRAP - 1)
        self._waiting: deque[bytes] = deque()  # frames of a delivery that the window cut off

    def start(self) -> None:
        """Answer the client's begin."""
        self.carrier.outlet.send(self.channel, p.begin(self.channel, 0, WINDOW, self._handle_max))

    @property
    def blocked(self) -> bool:
        """Whether the client's window is used up."""
        return self.window <= 0 or bool(self._waiting)

    def transfer(self, link: Link, message: bytes) -> None:
        """Send a message, settled, in as many frames as the client's frame size asks for."""
        handle, delivery_id = encode(UInt(link.request.handle)), encode(UInt(self.next_delivery_id))
        self.next_delivery_id = (self.next_delivery_id + 1) % _WRAP
        room = self.carrier.frame_bytes_max - 64
        for at in range(0, max(len(message), 1), room):
            more = b"\x41" if at + room < len(message) else b"\x42"
            # no delivery tag, and settled: the Python client would keep every tag it sees for ever
            fields = [handle, delivery_id, b"\x40", b"\x43", b"\x41", more, *[b"\x40"] * 5]
            body = b"\x00\x53\x14" + encode_list(fields) + message[at : at + room]
            self._waiting.append(p.frame(self.channel, body))
        self._send_waiting()

    def _send_waiting(self) -> None:
        count = min(max(self.window, 0), len(self._waiting))
        self.carrier.outlet.send_raw([self._waiting.popleft() for _ in range(count)])
        self.sent(count)

    def sent(self, frames: int) -> None:
        """Count transfer frames that went out."""
        self.window -= frames
        self.next_outgoing_id = (self.next_outgoing_id + frames) % _WRAP

    def expect_free(self, handle: int) -> None:
        """Raises `AmqpError` if a handle is taken: then the client has lost count."""
        if handle in self.links:
            raise AmqpError("amqp:session:handle-in-use", f"The handle {handle} is in use.")

    def add(self, link: Link) -> None:
        """Keep a link. Raises `AmqpError` if the session has no room for it."""
        if len(self.links) >= self.carrier.namespace.limits.links_max:
            raise AmqpError("amqp:resource-limit-exceeded", "The session has too many links.")
        self.links[link.request.handle] = link

    def on_flow(self, fields: list[Any]) -> None:
        """Take the client's windows, and credit for a link if it names one."""
        next_incoming = p.number(fields[0], "next-incoming-id", default=0)
        self.window = (next_incoming + p.number(fields[1], "incoming-window") - self.next_outgoing_id) % _WRAP
        if self.window > _WRAP // 2:  # more is on its way than the client takes by now
            self.window = 0
        self._send_waiting()
        if fields[4] is None:
            if fields[9] is True:
                self.send_flow(None)
        else:
            link = self._link(fields[4])
            if link is not None and not link.ended:
                credit = None if fields[6] is None else p.number(fields[6], "link-credit")
                count = p.number(fields[5], "delivery-count", default=0)
                link.on_flow(credit, count, drain=fields[8] is True)
                if fields[9] is True:
                    self.send_flow(link)
        for other in self.links.values():
            self.carrier.outlet.schedule(other)

    def send_flow(self, link: Link | None, *, drained: bool = False) -> None:
        """Tell the client the windows, and a link's credit."""
        state = (self.next_incoming_id, self._incoming_window, self.next_outgoing_id, WINDOW)
        of_link = None if link is None else link.flow_state()
        self.carrier.outlet.send(self.channel, p.flow(state, of_link, drained=drained))

    def on_transfer(self, fields: list[Any], payload: bytes) -> None:
        """Hand a transfer to its link, which is ended if it cannot take it."""
        self.next_incoming_id = (self.next_incoming_id + 1) % _WRAP
        self._incoming_window -= 1
        if self._incoming_window < WINDOW // 2:
            self._incoming_window = WINDOW
            self.send_flow(None)
        link = self._link(fields[0])
        if link is None or link.ended:
            return
        try:
            link.on_transfer(fields, payload)
        except AmqpError as error:
            self.end_link(link, error)

    def end_link(self, link: Link, error: AmqpError | None) -> None:
        """Detach a link from the hub's side; it stays known until the client has answered."""
        if not link.ended:
            link.ended = True
            self.carrier.outlet.send(self.channel, p.detach(link.request.handle, error))
            link.closed()

    def on_detach(self, fields: list[Any]) -> None:
        """Take the client's detach, and answer it unless it is an answer itself."""
        link = self._link(fields[0])
        if link is None:
            return
        self.links.pop(link.request.handle)
        if not link.ended:
            link.ended = True
            link.closed()
            self.carrier.outlet.send(self.channel, p.detach(link.request.handle))

    def closed(self) -> None:
        """The session is gone, and all its links with it."""
        links, self.links = self.links, {}
        for link in links.values():
            if not link.ended:
                link.ended = True
                link.closed()

    def _link(self, handle: object) -> Link | None:
        return self.links.get(p.number(handle, "handle"))
