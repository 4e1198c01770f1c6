"""Links to event hubs, named for what the client does: it receives on one kind and sends on the other."""

from __future__ import annotations

import struct
from typing import Any

from consumer.hub import performatives as p
from consumer.hub.addresses import Address, start_position
from consumer.hub.assembly import Delivery
from consumer.hub.codec import CodecError
from consumer.hub.entity import EventHub
from consumer.hub.faults import Kind, busy
from consumer.hub.intake import Intake
from consumer.hub.messages import batched, delivery_annotations, incoming
from consumer.hub.pace import Pace
from consumer.hub.performatives import AmqpError, LinkRequest
from consumer.hub.session import Session

CREDIT = 1_000
"""Sendings that a client may have on the way on one link."""
_TURN_EVENTS = 512
_TURN_BYTES = 512 * 1024
_WRAP = 2**32
RUNTIME_METRIC = "com.microsoft:enable-receiver-runtime-metric"
_HEAD = struct.Struct(">IBBH6sBIBI9s")
_BEFORE = b"\x00\x53\x14\xc0\x14\x0b"
_AFTER = b"\x40\x43\x41\x42\x40\x40\x40\x40\x40"
"""No delivery tag, format 0, settled, no more to come; nothing else."""


class ReceiverLink:
    """Delivers a partition to a client, as fast as its credit, its windows and its socket take it."""

    client_receives = True

    def __init__(self, session: Session, request: LinkRequest, hub: EventHub, address: Address) -> None:
        self.request = request
        self.address = address
        self.ended = False
        epoch = request.properties.get("com.microsoft:epoch")
        self.epoch: int | None = epoch if isinstance(epoch, int) else None
        self._session = session
        self._hub = hub
        self._log = hub.log_of(address.partition or "")
        self._next = self._log.locate(start_position(request.filters))
        self._credit = 0
        self._delivery_count = 0
        self._drain = False
        self._metrics = RUNTIME_METRIC in request.desired_capabilities
        self._pace = Pace()

    def start(self) -> None:
        """Take a place among the partition's receivers. Raises `AmqpError` if that is refused."""
        self._hub.admit(self, self.address.group or "", self.address.partition or "")
        self._log.on_append[self] = lambda: self._session.carrier.outlet.schedule(self)

    def end(self, error: AmqpError) -> None:
        """Detach the client."""
        self._session.end_link(self, error)

    def closed(self) -> None:
        """Give the place up."""
        self._log.on_append.pop(self, None)
        self._hub.leave(self, self.address.group or "", self.address.partition or "")

    def flow_state(self) -> tuple[int, int, int]:
        """Handle, delivery count and credit."""
        return self.request.handle, self._delivery_count, self._credit

    def on_flow(self, credit: int | None, delivery_count: int, *, drain: bool) -> None:
        """Take new credit."""
        if credit is not None:
            left = (delivery_count + credit - self._delivery_count) % _WRAP
            self._credit = 0 if left > _WRAP // 2 else left
        self._drain = drain

    def on_transfer(self, _fields: list[Any], _payload: bytes) -> None:
        """A receiver does not send."""
        raise AmqpError("amqp:not-allowed", "The link is for receiving.")

    def deliver(self) -> bool:
        """Send one turn's worth of events."""
        session = self._session
        if self.ended or session.blocked:
            return False
        count = min(self._credit, session.window, _TURN_EVENTS)
        faults = session.carrier.namespace.faults
        if faults.active and count:
            slow = faults.has(Kind.SLOW, self.address)
            count = min(count, self._pace.allowance(slow.rate_per_s if slow else None, self._log.wake))
        events = self._log.read(self._next, count, _TURN_BYTES) if count > 0 else []
        if events:
            self._next = events[-1].sequence_number + 1
            self._send([event.message for event in events])
            session.carrier.namespace.totals.delivered += len(events)
        more = self._next < self._log.end
        if self._drain and self._credit and not more:
            self._delivery_count = (self._delivery_count + self._credit) % _WRAP
            self._credit = 0
            self._drain = False
            session.send_flow(self, drained=True)
        return bool(events) and more and self._credit > 0

    def _send(self, messages: list[bytes]) -> None:
        """Put a frame head before every message; only the delivery id differs from one to the next."""
        session, channel, handle = self._session, self._session.channel, self.request.handle
        before = self._annotations()
        extra = _HEAD.size + len(before)
        self._credit -= len(messages)
        self._delivery_count = (self._delivery_count + len(messages)) % _WRAP
        if max(map(len, messages)) + extra > session.carrier.frame_bytes_max:
            for message in messages:
                session.transfer(self, before + message)
            return
        delivery_id = session.next_delivery_id
        pack = _HEAD.pack
        parts: list[bytes] = []
        for message in messages:
            size = extra + len(message)
            parts.append(pack(size, 2, 0, channel, _BEFORE, 0x70, handle, 0x70, delivery_id, _AFTER))
            if before:
                parts.append(before)
            parts.append(message)
            delivery_id = (delivery_id + 1) % _WRAP
        session.next_delivery_id = delivery_id
        session.sent(len(messages))
        session.carrier.outlet.send_raw(parts)

    def _annotations(self) -> bytes:
        if not self._metrics:
            return b""
        end = self._log.properties()
        now_ms = self._session.carrier.namespace.now_ms()
        return delivery_annotations(
            end.last_sequence_number, end.last_offset, end.last_enqueued_time_ms, now_ms
        )


class SenderLink(Intake):
    """Takes events from a client into a hub or one of its partitions."""

    client_receives = False

    def __init__(self, session: Session, request: LinkRequest, hub: EventHub, address: Address) -> None:
        super().__init__(session, request, CREDIT)
        self.address = address
        self._hub = hub
        if address.partition is not None:
            hub.log_of(address.partition)

    def end(self, error: AmqpError) -> None:
        """Detach the client."""
        self._session.end_link(self, error)

    def _accept(self, delivery: Delivery, message: bytes) -> None:
        """Put the events of a sending into the log."""
        error = self._store(message, delivery.message_format)
        if error is not None:
            self._session.carrier.namespace.totals.rejected += 1
        if not delivery.settled:
            first = delivery.delivery_id
            body = p.accepted(first) if error is None else p.rejected(first, error)
            self._session.carrier.outlet.send(self._session.channel, body)

    def _store(self, message: bytes, message_format: int) -> AmqpError | None:
        """Put a sending into the log; gives what is wrong with it."""
        namespace = self._session.carrier.namespace
        if namespace.faults.has(Kind.BUSY, self.address):
            return busy()
        try:
            events = batched(message) if message_format == p.BATCH_FORMAT else [incoming(message)]
            self._hub.append(events, self.address.partition)
        except CodecError as error:
            return AmqpError("amqp:decode-error", str(error))
        except OSError as error:
            return AmqpError("amqp:internal-error", f"The events cannot be stored: {error.strerror}")
        namespace.totals.received += len(events)
        return None
