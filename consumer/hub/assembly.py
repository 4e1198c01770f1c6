"""Deliveries from a client, put together from the frames that they come in."""

from __future__ import annotations

from typing import Any, NamedTuple

from consumer.hub import performatives as p
from consumer.hub.performatives import AmqpError


class Delivery(NamedTuple):
    """A whole delivery."""

    delivery_id: int
    message_format: int
    settled: bool
    """The client does not want to hear what became of it."""
    message: bytes | None
    """None if the client thought better of it."""


class Assembly:
    """The delivery of one link that is under way; there can only be one."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._message = bytearray()
        self._begun: Delivery | None = None

    def take(self, fields: list[Any], payload: bytes) -> Delivery | None:
        """Take a frame; gives the delivery with its last one. Raises `AmqpError` if it is too large."""
        begun = self._begun or Delivery(
            p.number(fields[1], "delivery-id"),
            p.number(fields[3], "message-format", default=0),
            settled=False,
            message=None,
        )
        begun = begun._replace(settled=begun.settled or fields[4] is True)
        self._message += payload
        if len(self._message) > self._message_bytes_max:
            self.clear()
            raise AmqpError(
                "amqp:link:message-size-exceeded",
                f"The message is larger than {self._message_bytes_max} bytes.",
            )
        aborted = fields[9] is True
        if fields[5] is True and not aborted:
            self._begun = begun
            return None
        message = None if aborted else bytes(self._message)
        self.clear()
        return begun._replace(message=message)

    def clear(self) -> None:
        """Forget what came so far."""
        self._message = bytearray()
        self._begun = None
