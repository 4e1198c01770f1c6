"""The two request links of the service: `$cbs`, where tokens are put, and `$management`, which is asked."""

from __future__ import annotations

from collections import deque
from typing import Any

from consumer.hub import performatives as p
from consumer.hub.addresses import CBS
from consumer.hub.assembly import Delivery
from consumer.hub.codec import Array, CodecError, Int, Timestamp
from consumer.hub.faults import Kind
from consumer.hub.intake import Intake
from consumer.hub.messages import Request, request, response
from consumer.hub.namespace import Namespace
from consumer.hub.performatives import AmqpError, LinkRequest
from consumer.hub.session import Session

_WAITING_MAX = 100
"""Answers that wait for credit on one link; more requests than that end it."""
_CREDIT = 100
_WRAP = 2**32
_STATUS = {"amqp:not-found": 404, "amqp:unauthorized-access": 401}


class ReplyLink:
    """Where a client gets its answers."""

    def __init__(self, session: Session, link_request: LinkRequest, node: str) -> None:
        self.request = link_request
        self.node = node
        self.ended = False
        self._session = session
        self._waiting: deque[bytes] = deque()
        self._credit = 0
        self._delivery_count = 0

    def start(self) -> None:
        """There is nothing to say yet."""

    def closed(self) -> None:
        """Forget what nobody will read."""
        self._waiting.clear()

    def flow_state(self) -> tuple[int, int, int]:
        """Handle, delivery count and credit."""
        return self.request.handle, self._delivery_count, self._credit

    def on_flow(self, credit: int | None, delivery_count: int, *, drain: bool) -> None:  # noqa: ARG002
        """Take new credit."""
        if credit is not None:
            self._credit = max((delivery_count + credit) % _WRAP - self._delivery_count, 0)

    def on_transfer(self, _fields: list[Any], _payload: bytes) -> None:
        """Answers go the other way."""
        raise AmqpError("amqp:not-allowed", "The link is for receiving.")

    def answer(self, message: bytes) -> None:
        """Send a message when there is credit. Raises `AmqpError` if the client does not read its answers."""
        if len(self._waiting) >= _WAITING_MAX:
            raise AmqpError("amqp:resource-limit-exceeded", "Too many answers wait for credit.")
        self._waiting.append(message)
        self._session.carrier.outlet.schedule(self)

    def deliver(self) -> bool:
        """Send the answers that there is credit for."""
        while self._waiting and self._credit > 0 and not self._session.blocked and not self.ended:
            self._session.transfer(self, self._waiting.popleft())
            self._credit -= 1
            self._delivery_count = (self._delivery_count + 1) % _WRAP
        return False


class RequestLink(Intake):
    """Where a client puts its requests."""

    def __init__(self, session: Session, link_request: LinkRequest, node: str) -> None:
        super().__init__(session, link_request, _CREDIT)
        self.node = node

    def _accept(self, delivery: Delivery, message: bytes) -> None:
        """Answer a request."""
        if not delivery.settled:
            self._session.carrier.outlet.send(self._session.channel, p.accepted(delivery.delivery_id))
        try:
            asked = request(message)
        except CodecError as error:
            raise AmqpError("amqp:decode-error", str(error)) from None
        self._reply_link().answer(self._handle(asked))

    def _reply_link(self) -> ReplyLink:
        """The link of the same session that reads from where this one sends to; clients need not name it."""
        for link in self._session.links.values():
            if isinstance(link, ReplyLink) and not link.ended and link.node == self.node:
                return link
        raise AmqpError("amqp:precondition-failed", "There is no link for the answer.")

    def _handle(self, asked: Request) -> bytes:
        carrier = self._session.carrier
        cbs = self.node == CBS
        try:
            if cbs:
                _put_token(carrier.namespace, asked)
                carrier.authorized = True
            body = None if cbs else _read(carrier.namespace, asked)
            code, words = (202, "Accepted") if cbs else (200, "OK")
        except AmqpError as error:
            body, code, words = None, _STATUS.get(error.condition, 400), error.description
            if cbs:
                carrier.authorized = False
        return response(asked.message_id, {"status-code": Int(code), "status-description": words}, body)


def _put_token(namespace: Namespace, asked: Request) -> None:
    if namespace.faults.has(Kind.DENY_TOKENS):
        raise AmqpError("amqp:unauthorized-access", "The token was refused. (injected)")
    if asked.arguments.get("operation") != "put-token":
        raise AmqpError("amqp:not-implemented", "The only operation is put-token.")
    token = asked.body if isinstance(asked.body, str) else ""
    namespace.tokens.check(str(asked.arguments.get("type")), token, str(asked.arguments.get("name")))


def _read(namespace: Namespace, asked: Request) -> dict[str, Any]:
    """The properties of a hub or a partition. Raises `AmqpError`."""
    if asked.arguments.get("operation") != "READ":
        raise AmqpError("amqp:not-implemented", "The only operation is READ.")
    hub = namespace.hub(str(asked.arguments.get("name")))
    kind = asked.arguments.get("type")
    if kind == "com.microsoft:eventhub":
        return {
            "name": hub.name,
            "type": kind,
            "created_at": Timestamp(hub.created_at_ms),
            "partition_count": Int(len(hub.logs)),
            "partition_ids": Array(hub.logs),
            "georeplication_factor": Int(1),
        }
    if kind == "com.microsoft:partition":
        partition = str(asked.arguments.get("partition"))
        told = hub.log_of(partition).properties()
        return {
            "name": hub.name,
            "type": kind,
            "partition": partition,
            "begin_sequence_number": told.begin_sequence_number,
            "last_enqueued_sequence_number": told.last_sequence_number,
            "last_enqueued_offset": told.last_offset,
            "last_enqueued_time_utc": Timestamp(told.last_enqueued_time_ms),
            "is_partition_empty": told.is_empty,
        }
    raise AmqpError(
        "amqp:not-implemented", "The known types are com.microsoft:eventhub and com.microsoft:partition."
    )
