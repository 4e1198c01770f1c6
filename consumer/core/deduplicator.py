"""Recognise an event that was there before.

An identity is remembered when its event is *resolved*, not when it is seen: remembering earlier would
turn an event that was seen and then lost in a crash into a duplicate of itself. What comes meanwhile
waits for the one in flight.
"""

from __future__ import annotations

from typing import Final

from consumer.core.digests import DATA_BYTES, KEY_BYTES
from consumer.core.record_table import TIME_BYTES, RecordTable
from consumer.core.table_image import TableImage

IDENTITY_BYTES: Final = KEY_BYTES
PRINT_BYTES: Final = IDENTITY_BYTES + DATA_BYTES
"""A *print*: the digests of an event's identity and of its data (`consumer.core.digests`)."""
RECORD_BYTES: Final = PRINT_BYTES + TIME_BYTES
_IN_BUCKET: Final = 36
"""Records: with fewer, each identity would take more than the forty bytes that it may."""


class Deduplicator:
    """The identities of a partition that were resolved within the window of log time.

    What is older than the window counts no more from the moment the watermark says so, whenever that is
    looked at: so a replay decides the same. The hard cap evicts the oldest, by log time, before its time and
    counts it: from then on a late duplicate may pass.
    """

    def __init__(self, window_ms: int, identities_max: int, image: TableImage | None = None) -> None:
        self._window_ms = window_ms
        self._identities_max = identities_max
        buckets = image.buckets if image is not None else (b"",)
        self._records = RecordTable(RECORD_BYTES, _IN_BUCKET, buckets)
        """Identity, data, log time. The same identity with other data is another record: a conflict."""
        self._since_ms = 0
        """The window reaches back to here."""
        self.evicted = 0
        self._evict()

    def __len__(self) -> int:
        return len(self._records)

    def recognise(self, identity: bytes, print_: bytes) -> bool | None:
        """True: the same was resolved; False: the same identity with other data only; None: neither.

        `identity` is the beginning of `print_`.
        """
        record = self._records.get(identity)
        if record is None:
            return None
        return record.startswith(print_) or self._records.get(print_) is not None

    def reaches(self, enqueued_time_ms: int) -> bool:
        """Whether the window reaches back to a log time."""
        return enqueued_time_ms >= self._since_ms

    def remember(self, print_: bytes, enqueued_time_ms: int) -> None:
        """Note a resolved event that was not known, unless it is older than the window already."""
        if not self.reaches(enqueued_time_ms):
            return
        self._records.add(print_, enqueued_time_ms)
        if len(self._records) > self._identities_max:
            self._evict()

    def expire(self, watermark_ms: int) -> None:
        """Forget what is older than the window."""
        self._since_ms = since_ms = watermark_ms - self._window_ms
        if self._records.oldest_ms < since_ms:
            self._records.expire(since_ms)

    def image(self) -> TableImage:
        """Everything that is remembered, for a snapshot."""
        return TableImage(RECORD_BYTES, self._records.buckets)

    def entries(self) -> list[tuple[bytes, int]]:
        """Everything that is remembered with its log time, oldest first."""
        return sorted((_read(record) for record in self._records), key=lambda entry: entry[1])

    def _evict(self) -> None:
        while len(self._records) > self._identities_max:
            self._records.pop_oldest()
            self.evicted += 1


def _read(record: bytes) -> tuple[bytes, int]:
    return record[:PRINT_BYTES], int.from_bytes(record[PRINT_BYTES:], "big")
