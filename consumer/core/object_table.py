"""The last released event of every object, in about sixty bytes for each.

An object is known by a digest of its name, so its table does not grow with the length of names, and what is
not asked for cannot be listed. Only what does not fit into a record (a token that is neither a number nor
hexadecimal digits, a type beyond the first `TYPES_MAX`) is kept beside it, as ordinary Python values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from consumer.core.digests import KEY_BYTES
from consumer.core.order import compare
from consumer.core.packed_token import BESIDE, PACKED_BYTES, kind_of, unpack
from consumer.core.place import Place
from consumer.core.record_table import TIME_BYTES, RecordTable
from consumer.core.table_image import TableImage
from consumer.events import OrderToken

_TYPE_AT: Final = KEY_BYTES + PACKED_BYTES
_TIME_AT: Final = _TYPE_AT + 2
RECORD_BYTES: Final = _TIME_AT + TIME_BYTES
"""Key, packed token, number of the type, time."""
_IN_BUCKET = 7
"""Records: there is room for smaller buckets than identities have, and an object changes again and again."""
TYPES_MAX = 10_000
"""Types that have a number; they come from outside, and a number is never given back."""
_TYPE_LENGTH_MAX: Final = 200
"""Characters."""
_TYPE_BESIDE: Final = b"\xff\xff"

# How an event's token stands to the last one of its object.
EARLIER: Final = -1
SAME: Final = 0
LATER: Final = 1
TWIN: Final = 2
"""The same, and so is the type of the event."""
INCOMPARABLE: Final = 3
UNKNOWN: Final = 4
"""There is none."""


class Beside(NamedTuple):
    """What does not fit into the record of an object."""

    value: str | int | tuple[int, int]
    """Of the order token."""
    event_type: str


class Last(NamedTuple):
    """The last released event of an object."""

    token: OrderToken
    event_type: str
    time_ms: int
    """Log time."""


@dataclass(frozen=True, slots=True)
class ObjectsImage:
    """The objects at one moment."""

    records: TableImage
    types: tuple[str, ...]
    """The names of the types, by number."""
    beside: Mapping[bytes, Beside]
    """What did not fit into the records, by key."""

    def __len__(self) -> int:
        return len(self.records)


class ObjectTable:
    """Objects by key; the one that was quiet longest, by log time, is forgotten first."""

    def __init__(self, image: ObjectsImage | None = None) -> None:
        buckets = image.records.buckets if image is not None else (b"",)
        self._records = RecordTable(RECORD_BYTES, _IN_BUCKET, buckets)
        self._types = {
            name: _code(number) for number, name in enumerate(image.types if image is not None else ())
        }
        self._names = list(self._types)
        self._beside: dict[bytes, Beside] = dict(image.beside) if image is not None else {}

    def __len__(self) -> int:
        return len(self._records)

    def standing(self, place: Place) -> int:
        """Compare a place with that of the last event of its object: one of the above."""
        record = self._records.get(place.object_key)
        if record is None:
            return UNKNOWN
        packed = place.packed
        shape = packed[1]
        if record[KEY_BYTES + 1] == shape and record[KEY_BYTES] == packed[0] and shape != BESIDE:
            last = record[KEY_BYTES:_TYPE_AT]
            if last != packed:
                return EARLIER if packed < last else LATER
            return TWIN if self._type_of(record) == place.event_type else SAME
        known = self._read(record)
        result = compare(place.token, known.token)
        if result is None:
            return INCOMPARABLE
        return TWIN if result == SAME and known.event_type == place.event_type else result

    def last(self, key: bytes) -> Last | None:
        """The last released event of an object."""
        record = self._records.get(key)
        return None if record is None else self._read(record)

    def put(self, place: Place, time_ms: int) -> None:
        """Remember the place of a released event as that of the last one of its object."""
        event_type, key, packed = place.event_type, place.object_key, place.packed
        code = self._types.get(event_type) or self._add_type(event_type)
        if self._beside:
            self._beside.pop(key, None)
        if packed[1] == BESIDE or code == _TYPE_BESIDE:
            self._beside[key] = Beside(place.token.value, event_type)
        self._records.put(key, packed + code, time_ms)

    def forget_oldest(self) -> None:
        """Forget the object that was quiet longest. Raises `IndexError` if there is none."""
        self._beside.pop(self._records.pop_oldest()[:KEY_BYTES], None)

    def expire(self, before_ms: int) -> None:
        """Forget objects whose last event is older than a log time."""
        if self._records.oldest_ms >= before_ms:
            return
        gone = self._records.expire(before_ms)
        if self._beside:
            for at in range(0, len(gone), RECORD_BYTES):
                self._beside.pop(gone[at : at + KEY_BYTES], None)

    def image(self) -> ObjectsImage:
        """Everything, as it is now."""
        records = TableImage(RECORD_BYTES, self._records.buckets)
        return ObjectsImage(records, tuple(self._names), dict(self._beside))

    def entries(self) -> list[tuple[bytes, Last]]:
        """Key and last event of every object, longest quiet first."""
        read = [(record[:KEY_BYTES], self._read(record)) for record in self._records]
        return sorted(read, key=lambda entry: entry[1].time_ms)

    def _read(self, record: bytes) -> Last:
        token = unpack(record[KEY_BYTES:_TYPE_AT])
        if token is None:
            token = OrderToken(kind_of(record[KEY_BYTES:_TYPE_AT]), self._beside[record[:KEY_BYTES]].value)
        return Last(token, self._type_of(record), int.from_bytes(record[-TIME_BYTES:], "big"))

    def _type_of(self, record: bytes) -> str:
        code = record[_TYPE_AT:_TIME_AT]
        if code == _TYPE_BESIDE:
            return self._beside[record[:KEY_BYTES]].event_type
        return self._names[int.from_bytes(code, "big")]

    def _add_type(self, event_type: str) -> bytes:
        if len(self._names) >= TYPES_MAX or len(event_type) > _TYPE_LENGTH_MAX:
            return _TYPE_BESIDE
        code = self._types[event_type] = _code(len(self._names))
        self._names.append(event_type)
        return code


def _code(number: int) -> bytes:
    return number.to_bytes(2, "big")
