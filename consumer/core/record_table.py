"""Many small records of one size, found by their key, forgotten in the order of their log time.

Theory of operation. A Python object for each record would cost several times the record, so a *bucket* is
one immutable `bytes`: some records side by side, oldest first. The number of buckets grows with the table,
one bucket at a time (linear hashing), so no single event pays for the growth of all.

Since buckets are replaced and never changed, an image of the whole table is a tuple of its buckets: taking
one costs nothing for each record, and the table goes on while the image is being written.

The oldest record is found through a heap of hints. A hint says: in this bucket nothing is older than this. It
is put right when it comes to the top, so what is only touched costs the heap nothing.

A record begins with its key, of which the first bytes have to be spread evenly (a digest's are), and
ends with `TIME_BYTES` of log time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64  # compiled, what it is the type of is a machine's number

TIME_BYTES: Final = 6
"""Milliseconds since 1970, up to the year 10889."""
_BUCKETS_MAX: Final = 1 << 24
"""Three bytes of a key number them; so many would be some gigabytes."""
_MARK_AT: Final = 3
"""The byte of a key that is compared before the others: nearly always it tells at once."""
_NUMBER_BYTES: Final = 3
"""Of a bucket's number, in a hint: behind the time, so that hints are in order as they are, as bytes."""
_NEVER: Final = 1 << 60


def time_bytes(time_ms: int) -> bytes:
    """Log time as it stands in a record: what is out of range is as old, or as new, as can be."""
    try:
        return time_ms.to_bytes(TIME_BYTES, "big")
    except OverflowError:
        return bytes(TIME_BYTES) if time_ms < 0 else b"\xff" * TIME_BYTES


class RecordTable:
    """Records of `size` bytes; each key once."""

    def __init__(self, size: int, mean: int, buckets: Iterable[bytes] = (b"",)) -> None:
        """Begin with the buckets of another table of records of this size, or with none.

        `mean` records are in a bucket: with fewer, buckets and their hints take more room; with more, changes
        take more time, for each makes a new bucket. Larger ones to begin with are divided one at a time,
        while records are added.
        """
        self._size: i64 = size
        self._mean: i64 = mean
        self._buckets = list(buckets)
        self._length = sum(map(len, self._buckets)) // size
        count = len(self._buckets)
        self._count: i64 = count
        self._wide: i64 = (1 << (count - 1).bit_length()) - 1
        """Masks the bits of a key that number the buckets once all of this round are split…"""
        self._narrow: i64 = self._wide >> 1
        """…and this one those that were there before it."""
        self._hints: list[bytes] = []
        self.oldest_ms = _NEVER
        """Nothing in the table is older."""
        self._hint_all()
        self._asked: bytes | None = None
        """The last record that was asked for: often it is put next. Its key, its bucket, its place there."""
        self._asked_number: i64 = 0
        self._asked_at: i64 = -1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        """Every record, in no particular order."""
        for bucket in self._buckets:
            yield from _records(bucket, self._size)

    @property
    def buckets(self) -> tuple[bytes, ...]:
        """An image of everything, which stays as it is."""
        return tuple(self._buckets)

    def get(self, key: bytes) -> bytes | None:
        """The record that begins with `key`, which may be its beginning only."""
        number = self._number_of(key)
        self._asked, self._asked_number = key, number
        bucket = self._buckets[number]
        mark = key[_MARK_AT]
        size: i64 = self._size
        length: i64 = len(key)
        at: i64 = len(bucket)
        while at > 0:  # from the end: what is asked for is likely to be new
            at -= size
            if bucket[at + _MARK_AT] == mark and bucket[at : at + length] == key:
                self._asked_at = at
                return bucket[at : at + size]
        self._asked_at = -1
        return None

    def put(self, key: bytes, content: bytes, time_ms: int) -> None:
        """Remember some content and a log time by a key, in place of what is remembered by it."""
        if self._asked is not key:
            self.get(key)
        number, at = self._asked_number, self._asked_at
        if at < 0:
            self._append(number, key + content, time_ms)
            return
        self._asked = None
        bucket, time = self._buckets[number], time_bytes(time_ms)
        before, behind = bucket[:at], bucket[at + self._size :]
        if bucket[-TIME_BYTES:] <= time:
            self._buckets[number] = b"%b%b%b%b%b" % (before, behind, key, content, time)
        else:
            self._insert(number, before + behind, key + content + time)

    def add(self, record: bytes, time_ms: int) -> None:
        """Add a record that is all key, without a look whether it is there; if so, it is there twice."""
        self._append(self._number_of(record), record, time_ms)

    def pop_oldest(self) -> bytes:
        """Forget the record with the lowest time, and give it. Raises `IndexError` if there is none."""
        number = self._oldest_bucket()
        bucket = self._buckets[number]
        self._buckets[number] = bucket[self._size :]
        self._length -= 1
        self._asked = None
        return bucket[: self._size]

    def expire(self, before_ms: int) -> bytes:
        """Forget everything older than a log time, and give it: records, one after the other."""
        gone = []
        before = time_bytes(before_ms)
        self._asked = None
        while self._hints and self._hints[0] < before:
            if not self._length:
                self._hints.clear()
                break
            number = self._oldest_bucket()
            bucket = self._buckets[number]
            end = self._older(bucket, before)
            if not end:
                break
            gone.append(bucket[:end])
            self._buckets[number] = bucket[end:]
            self._length -= end // self._size
        self._note_oldest()
        return b"".join(gone)

    # Buckets.

    def _number_of(self, key: bytes) -> i64:
        """Of the bucket in which a key is."""
        spread = _spread(key, 0)
        number = spread & self._wide
        return number if number < self._count else spread & self._narrow

    def _append(self, number: i64, content: bytes, time_ms: int) -> None:
        """Put a record that was not there into a bucket, nearly always behind the others."""
        bucket, time = self._buckets[number], time_bytes(time_ms)
        if bucket and bucket[-TIME_BYTES:] <= time:
            self._buckets[number] = b"%b%b%b" % (bucket, content, time)
        else:
            self._insert(number, bucket, content + time)
        self._asked = None
        self._length += 1
        if self._length > self._mean * self._count and self._count < _BUCKETS_MAX:
            self._split()

    def _insert(self, number: i64, bucket: bytes, record: bytes) -> None:
        """Put a record behind the last one that is not newer."""
        time, at = record[-TIME_BYTES:], len(bucket)
        while at and bucket[at - TIME_BYTES : at] > time:
            at -= self._size
        self._buckets[number] = bucket[:at] + record + bucket[at:]
        if not at:
            self._hint(number)

    def _split(self) -> None:
        """Divide the next bucket in turn between itself and a new one."""
        count = self._count
        if count > self._wide:
            self._narrow, self._wide = self._wide, self._wide << 1 | 1
        number, bit = count & self._narrow, self._narrow + 1
        bucket = self._buckets[number]
        staying: list[bytes] = []
        moving: list[bytes] = []
        size: i64 = self._size
        at: i64 = 0
        end: i64 = len(bucket)
        while at < end:
            if _spread(bucket, at) & bit:
                moving.append(bucket[at : at + size])
            else:
                staying.append(bucket[at : at + size])
            at += size
        self._buckets[number] = b"".join(staying)
        self._buckets.append(b"".join(moving))
        self._count = count + 1
        if moving:
            self._hint(count)

    def _older(self, bucket: bytes, time: bytes) -> int:
        """How many bytes of a bucket are records from before a time."""
        if bucket[-TIME_BYTES:] < time:
            return len(bucket)
        end = 0
        while bucket[end + self._size - TIME_BYTES : end + self._size] < time:
            end += self._size
        return end

    # Hints.

    def _hint_for(self, number: int) -> bytes:
        time = self._buckets[number][self._size - TIME_BYTES : self._size]
        return time + number.to_bytes(_NUMBER_BYTES, "big")

    def _hint(self, number: int) -> None:
        if len(self._hints) > 2 * self._count:
            self._hint_all()  # this bucket with them
        else:
            heappush(self._hints, self._hint_for(number))
            self._note_oldest()

    def _hint_all(self) -> None:
        self._hints = [self._hint_for(number) for number, bucket in enumerate(self._buckets) if bucket]
        heapify(self._hints)
        self._note_oldest()

    def _note_oldest(self) -> None:
        self.oldest_ms = _number(self._hints[0], 0, TIME_BYTES) if self._hints else _NEVER

    def _oldest_bucket(self) -> i64:
        """Put hints right until the one on top is true. Raises `IndexError` if there is no record."""
        hints = self._hints
        while True:
            hint = hints[0]
            number = _number(hint, TIME_BYTES, TIME_BYTES + _NUMBER_BYTES)
            bucket = self._buckets[number]
            if not bucket:
                heappop(hints)
                continue
            true = bucket[self._size - TIME_BYTES : self._size] + hint[TIME_BYTES:]
            if true == hint:
                return number
            heapreplace(hints, true)


def _number(content: bytes, at: i64, end: i64) -> i64:
    """What the bytes from one place to another say."""
    number: i64 = 0
    while at < end:
        byte: i64 = content[at]
        number = number << 8 | byte
        at += 1
    return number


def _spread(key: bytes, at: i64) -> i64:
    """The bytes of a key, which begins at `at`, by which buckets are numbered."""
    first: i64 = key[at]
    second: i64 = key[at + 1]
    third: i64 = key[at + 2]
    return first | second << 8 | third << 16


def _records(bucket: bytes, size: int) -> Iterator[bytes]:
    return (bucket[at : at + size] for at in range(0, len(bucket), size))
