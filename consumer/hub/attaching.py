"""What a link may be attached to, and by whom."""

from __future__ import annotations

from consumer.hub import performatives as p
from consumer.hub.addresses import CBS, MANAGEMENT, parse_address, path_of
from consumer.hub.codec import Array, Symbol
from consumer.hub.faults import Kind, busy
from consumer.hub.links import RUNTIME_METRIC, ReceiverLink, SenderLink
from consumer.hub.management import ReplyLink, RequestLink
from consumer.hub.performatives import AmqpError, LinkRequest, not_found
from consumer.hub.session import Carrier, Session

_CAPABILITIES = ("com.microsoft:georeplication", RUNTIME_METRIC)


def attach(carrier: Carrier, session: Session, request: LinkRequest) -> None:
    """Answer an attach, and detach at once if what the link is for is refused: so does the service.

    Raises `AmqpError` if the session cannot go on.
    """
    session.expect_free(request.handle)
    capabilities = [Symbol(name) for name in _CAPABILITIES if name in request.desired_capabilities]
    limit = carrier.namespace.limits.message_bytes_max
    answer = p.attach(request, limit, Array(capabilities) if capabilities else None)
    carrier.outlet.send(session.channel, answer)
    try:
        link = _make(carrier, session, request)
        session.add(link)
    except AmqpError as error:
        carrier.outlet.send(session.channel, p.detach(request.handle, error))
        return
    try:
        link.start()
    except AmqpError as error:
        session.end_link(link, error)


def _make(
    carrier: Carrier, session: Session, request: LinkRequest
) -> ReceiverLink | SenderLink | ReplyLink | RequestLink:
    node = path_of(request.address)
    if node != CBS and not carrier.authorized:
        raise AmqpError("amqp:unauthorized-access", "No valid token was put to $cbs on this connection.")
    if node in {CBS, MANAGEMENT}:
        make = ReplyLink if request.client_receives else RequestLink
        return make(session, request, node)
    address = parse_address(request.address)
    hub = carrier.namespace.hub(address.hub)
    if not request.client_receives:
        return SenderLink(session, request, hub, address)
    if address.group is None or address.partition is None:
        raise not_found(node)
    if carrier.namespace.faults.has(Kind.BUSY, address):
        raise busy()
    return ReceiverLink(session, request, hub, address)
