"""Dead letters as messages of an event hub: what is sent, and how it is put together again.

A hub only ever adds, so a letter is what its messages say, in their order: ``put`` (once: another one
changes nothing), ``replace``, ``remove``. All messages about a letter have one partition key: so their order.
The body is the record in JSON, with the original bytes as text where they are UTF-8, else in base64; a record
that is too large for the smallest message that any tier takes comes in parts.

The properties say what somebody looks for without reading bodies: key, reason, processor, position.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import structlog

from consumer.events import DeadLetter
from consumer.stores.dead_letter_record import DeadLetterRecord, letter_of, record_of

_PART_BYTES = 180_000
"""The basic tier takes 256 KiB, properties included."""
_PARTS_MAX = 64
"""Parts of one letter; more are none of ours."""
_UNFINISHED_MAX = 64
"""Letters of which some parts have come, per partition; beyond it the oldest is given up, and said."""
_BUCKETS = 32
"""Partition keys: few, so that letters are sent in batches; enough for every hub's partitions."""
_DO, _ID, _PART, _PARTS = "inturn-do", "inturn-id", "inturn-part", "inturn-parts"

_log = structlog.get_logger("inturn.stores")


class Do(StrEnum):
    """What a message does to the letter in it."""

    PUT = "put"
    REPLACE = "replace"
    REMOVE = "remove"


class Outgoing(NamedTuple):
    """A message to send."""

    body: bytes
    properties: dict[str, str | int]
    partition_key: str


class Told(NamedTuple):
    """What messages say of a letter; with ``remove`` only its scope counts."""

    do: Do
    letter: DeadLetter


def messages_of(do: Do, letter: DeadLetter) -> Iterator[Outgoing]:
    """The messages that say something of a letter."""
    if do is Do.REMOVE:
        letter = msgspec.structs.replace(letter, original=b"", error="")
    body = _written(letter)
    parts = [body[start : start + _PART_BYTES] for start in range(0, len(body), _PART_BYTES)]
    position = letter.position
    properties: dict[str, str | int] = {
        _DO: do.value,
        _ID: uuid.uuid4().hex,
        _PARTS: len(parts),
        "key": letter.key,
        "reason": letter.reason.value,
        "processor": letter.processor or "",
        "position": f"{position.partition}/{position.sequence_number}/{position.index}",
        "consumer_group": letter.partition.group,
    }
    bucket = f"inturn-{zlib.crc32(letter.key.encode()) % _BUCKETS}"
    for number, part in enumerate(parts):
        yield Outgoing(part, properties | {_PART: number}, bucket)


def _written(letter: DeadLetter) -> bytes:
    record = msgspec.structs.asdict(record_of(letter))
    try:
        record["original_text"] = letter.original.decode("utf-8")
        del record["original"]
    except UnicodeDecodeError:
        pass  # in base64, as msgspec writes bytes
    return msgspec.json.encode(record)


class Assembler:
    """Puts the messages of one partition together; give it all of them, in order."""

    def __init__(self) -> None:
        self._unfinished: dict[str, list[bytes]] = {}

    def take(self, body: bytes, properties: Mapping[str, object]) -> Told | None:
        """What a message says, if it completes something; None too for what is none of ours."""
        known = {_text(name): _text(value) for name, value in properties.items()}
        try:
            do, id_ = Do(known[_DO]), known[_ID]
            part, parts = int(known[_PART]), int(known[_PARTS])
        except (KeyError, ValueError):
            return None
        if parts > 1:
            whole = self._join(id_, part, parts, body)
            if whole is None:
                return None
            body = whole
        try:
            return Told(do, _read(body))
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            _log.warning(
                "A dead letter cannot be read and is left out.", key=known.get("key"), error=str(error)
            )
            return None

    def _join(self, id_: str, part: int, parts: int, body: bytes) -> bytes | None:
        """The whole body with its last part; a part that was sent twice, or out of turn, is not taken."""
        begun = self._unfinished.get(id_, [])
        if part != len(begun) or parts > _PARTS_MAX:
            return None
        self._unfinished[id_] = [*begun, body]
        if part + 1 == parts:
            return b"".join(self._unfinished.pop(id_))
        if len(self._unfinished) > _UNFINISHED_MAX:
            oldest = next(iter(self._unfinished))
            del self._unfinished[oldest]
            _log.warning("Parts of a dead letter have no end and are left out.", id=oldest)
        return None


def _read(body: bytes) -> DeadLetter:
    fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    text = fields.pop("original_text", None)
    if isinstance(text, str):
        fields["original"] = text.encode("utf-8")
    return letter_of(msgspec.convert(fields, DeadLetterRecord))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
