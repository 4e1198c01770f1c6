"""The receiving end of a link on which a client sends: its credit, and the deliveries put together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from consumer.hub.assembly import Assembly, Delivery
from consumer.hub.performatives import LinkRequest
from consumer.hub.session import Session

_WRAP = 2**32


class Intake(ABC):
    """What all links have in common on which a client sends."""

    def __init__(self, session: Session, request: LinkRequest, credit: int) -> None:
        """`credit`: how many deliveries a client may have on the way."""
        self.request = request
        self.ended = False
        self._session = session
        self._delivery_count = request.initial_delivery_count
        self._credit = self._credit_max = credit
        self._assembly = Assembly(session.carrier.namespace.limits.message_bytes_max)

    def start(self) -> None:
        """Grant credit."""
        self._session.send_flow(self)

    def closed(self) -> None:
        """Forget what came of an unfinished delivery."""
        self._assembly.clear()

    def flow_state(self) -> tuple[int, int, int]:
        """Handle, delivery count and credit."""
        return self.request.handle, self._delivery_count, self._credit

    def on_flow(self, credit: int | None, delivery_count: int, *, drain: bool) -> None:  # noqa: B027 - no news
        """The client's word on its own credit: only the delivery count may be news."""

    def deliver(self) -> bool:
        """There is never anything to send."""
        return False

    def on_transfer(self, fields: list[Any], payload: bytes) -> None:
        """Take a frame; with the last one a delivery is there, unless the client thought better of it."""
        delivery = self._assembly.take(fields, payload)
        if delivery is None:
            return
        self._delivery_count = (self._delivery_count + 1) % _WRAP
        self._credit -= 1
        if delivery.message is not None:
            self._accept(delivery, delivery.message)
        if self._credit < self._credit_max // 2:
            self._credit = self._credit_max
            self._session.send_flow(self)

    @abstractmethod
    def _accept(self, delivery: Delivery, message: bytes) -> None:
        """Do what the delivery asks for, and answer it."""
