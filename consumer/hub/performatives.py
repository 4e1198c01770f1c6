"""The frames of AMQP 1.0: what the client says, taken apart, and what the hub says, put together.

Every performative leaves with all of its fields, absent ones as explicit nulls. AMQP lets a sender
leave trailing nulls out, but the Python client reads fields by position and fails if one is missing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from consumer.hub.codec import (
    Array,
    CodecError,
    Described,
    Symbol,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
    encode,
)

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
EMPTY_FRAME = b"\x00\x00\x00\x08\x02\x00\x00\x00"
FRAME_HEADER_BYTES = 8
FRAME_BYTES_MIN = 512
"""The smallest maximum that either side may ask for."""
BATCH_FORMAT = 0x80013700
"""The message format of a batch: its data sections are encoded messages."""

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
SASL_MECHANISMS, SASL_INIT, SASL_CHALLENGE, SASL_RESPONSE, SASL_OUTCOME = range(0x40, 0x45)
ERROR, ACCEPTED, REJECTED, SOURCE, TARGET = 0x1D, 0x24, 0x25, 0x28, 0x29

_FIELD_COUNTS = {
    OPEN: 10, BEGIN: 8, ATTACH: 14, FLOW: 11, TRANSFER: 11, DISPOSITION: 6, DETACH: 3, END: 1, CLOSE: 1,
    SASL_MECHANISMS: 1, SASL_INIT: 3, SASL_CHALLENGE: 1, SASL_RESPONSE: 1, SASL_OUTCOME: 2,
}  # fmt: skip
_MECHANISMS = Array([Symbol("MSSBCBS"), Symbol("PLAIN"), Symbol("ANONYMOUS"), Symbol("EXTERNAL")])
_FRAME_HEADER = struct.Struct(">IBBH")


class AmqpError(Exception):
    """What the hub tells a client instead of doing what it asked for."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


def not_found(entity: str) -> AmqpError:
    """The answer for what is not there, in the words by which the JavaScript client knows it."""
    return AmqpError("amqp:not-found", f"The messaging entity '{entity[:200]}' could not be found.")


class Performative(NamedTuple):
    """A frame's body: what it is, its fields (as many as there can be), and the bytes after them."""

    code: int
    fields: list[Any]
    payload: bytes


class LinkRequest(NamedTuple):
    """What a client says of a link that it attaches."""

    name: str
    handle: int
    client_receives: bool
    source: Any
    target: Any
    properties: Mapping[Any, Any]
    desired_capabilities: frozenset[str]
    initial_delivery_count: int

    @property
    def address(self) -> str:
        """What the link is for: where the client reads from, or where it sends to."""
        terminus = self.source if self.client_receives else self.target
        fields = terminus.value if isinstance(terminus, Described) else None
        address = fields[0] if isinstance(fields, list) and fields else None
        if not isinstance(address, str):
            raise AmqpError("amqp:invalid-field", "The link has no address.")
        return address

    @property
    def filters(self) -> Mapping[Any, Any]:
        """The source's filters, by name."""
        fields = self.source.value if isinstance(self.source, Described) else None
        found = fields[7] if isinstance(fields, list) and len(fields) > 7 else None
        return found if isinstance(found, dict) else {}


def parse(body: bytes) -> Performative:
    """Take a frame's body apart. Raises `CodecError`."""
    value, at = decode(body)
    if not isinstance(value, Described) or not isinstance(value.descriptor, int):
        raise CodecError("a frame holds no performative")
    count = _FIELD_COUNTS.get(value.descriptor)
    if count is None or not isinstance(value.value, list) or len(value.value) > count:
        raise CodecError("a frame holds an unknown performative")
    fields = value.value + [None] * (count - len(value.value))
    return Performative(value.descriptor, fields, body[at:])


def parse_attach(fields: list[Any]) -> LinkRequest:
    """Take the fields of an attach apart. Raises `AmqpError`."""
    capabilities = fields[12]
    if isinstance(capabilities, str):
        capabilities = [capabilities]
    return LinkRequest(
        name=text(fields[0], "name"),
        handle=number(fields[1], "handle"),
        client_receives=fields[2] is True,
        source=fields[5],
        target=fields[6],
        properties=fields[13] if isinstance(fields[13], dict) else {},
        desired_capabilities=frozenset(str(item) for item in capabilities or ()),
        initial_delivery_count=number(fields[9], "initial-delivery-count", default=0),
    )


def number(value: object, name: str, *, default: int | None = None) -> int:
    """A field that must be an unsigned 32-bit number. Raises `AmqpError`."""
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise AmqpError("amqp:invalid-field", f"{name} is not a number.")
    return value


def text(value: object, name: str) -> str:
    """A field that must be text. Raises `AmqpError`."""
    if not isinstance(value, str):
        raise AmqpError("amqp:invalid-field", f"{name} is not text.")
    return value


def frame(channel: int, body: bytes, *, sasl: bool = False) -> bytes:
    """A whole frame around a body."""
    return _FRAME_HEADER.pack(FRAME_HEADER_BYTES + len(body), 2, int(sasl), channel) + body


def sasl_mechanisms() -> bytes:
    """The ways to sign in; what else a client sends with them is settled on `$cbs`."""
    return encode(Described(ULong(SASL_MECHANISMS), [_MECHANISMS]))


def sasl_outcome(*, accepted: bool) -> bytes:
    """The end of the sign-in."""
    return encode(
        Described(ULong(SASL_OUTCOME), [UByte(0 if accepted else 1), b"Welcome!" if accepted else b""])
    )


def open_connection(container: str, frame_bytes_max: int, channel_max: int, idle_timeout_ms: int) -> bytes:
    """The hub's half of an open."""
    fields = [container, None, UInt(frame_bytes_max), UShort(channel_max), UInt(idle_timeout_ms)]
    return encode(Described(ULong(OPEN), [*fields, None, None, None, None, None]))


def begin(remote_channel: int, next_outgoing_id: int, window: int, handle_max: int) -> bytes:
    """The hub's half of a begin. The handle-max must be a number: the Python client compares with it."""
    numbers = [UShort(remote_channel), UInt(next_outgoing_id), UInt(window), UInt(window), UInt(handle_max)]
    return encode(Described(ULong(BEGIN), [*numbers, None, None, None]))


def attach(request: LinkRequest, message_bytes_max: int, capabilities: Array | None = None) -> bytes:
    """The hub's half of an attach: the client's source and target come back as they were."""
    # Deliveries go out settled: a client that had to settle each would be stopped by its own session buffer.
    settle_mode = UByte(1 if request.client_receives else 0)
    fields = [
        request.name, UInt(request.handle), not request.client_receives, settle_mode, UByte(0),
        _terminus(request.source, SOURCE), _terminus(request.target, TARGET), None, False,
        UInt(0) if request.client_receives else None, ULong(message_bytes_max), capabilities, None, None,
    ]  # fmt: skip
    return encode(Described(ULong(ATTACH), fields))


def _terminus(value: object, code: int) -> Described:
    """A source or target to send back: its address, and a source's filters."""
    known = isinstance(value, Described) and isinstance(value.value, list)
    fields: list[Any] = value.value if isinstance(value, Described) and known else []
    address = fields[0] if fields and isinstance(fields[0], str) else None
    head: list[Any] = [str(address) if address is not None else None, UInt(0), None, UInt(0), False, None]
    if code == TARGET:
        return Described(ULong(TARGET), [*head, None])
    filters = fields[7] if len(fields) > 7 and isinstance(fields[7], dict) else None
    return Described(ULong(SOURCE), [*head, None, filters, None, None, None])


def flow(
    session: tuple[int, int, int, int], link: tuple[int, int, int] | None, *, drained: bool = False
) -> bytes:
    """A flow.

    Args:
        session: next-incoming-id (of the hub), incoming window, next-outgoing-id, outgoing window.
        link: handle, delivery count, credit; None for a flow of the session alone.
        drained: the credit was used up because the client asked for it.
    """
    numbers = [UInt(value) for value in session]
    of_link: list[Any] = [UInt(value) for value in link] if link else [None, None, None]
    return encode(Described(ULong(FLOW), [*numbers, *of_link, None, drained, False, None]))


def accepted(first: int) -> bytes:
    """The events of a delivery are in the log."""
    return _disposition(first, Described(ULong(ACCEPTED), []))


def rejected(first: int, error: AmqpError) -> bytes:
    """The events of a delivery are not in the log, and why."""
    return _disposition(first, Described(ULong(REJECTED), [_error(error)]))


def _disposition(first: int, state: Described) -> bytes:
    return encode(Described(ULong(DISPOSITION), [True, UInt(first), UInt(first), True, state, False]))


def detach(handle: int, error: AmqpError | None = None) -> bytes:
    """The end of a link."""
    return encode(Described(ULong(DETACH), [UInt(handle), True, error and _error(error)]))


def end(error: AmqpError | None = None) -> bytes:
    """The end of a session."""
    return encode(Described(ULong(END), [error and _error(error)]))


def close(error: AmqpError | None = None) -> bytes:
    """The end of a connection."""
    return encode(Described(ULong(CLOSE), [error and _error(error)]))


def _error(error: AmqpError) -> Described:
    # Three elements, or the Python client raises IndexError instead of the error.
    return Described(ULong(ERROR), [Symbol(error.condition), error.description, None])
