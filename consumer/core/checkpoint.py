"""Decide how far a partition may be checkpointed.

Events are resolved out of order, but a checkpoint is one number, and it promises that everything up to it
is done. So each message has a slot, in the order of arrival, and the checkpoint rises only as far as the
oldest slot with something unfinished in it.

One processor that hangs keeps it back while all others go on. So of messages in a row that are done, only the
last is kept: else each snapshot would take longer than the one before, and the garbage collector as well.
"""

from __future__ import annotations

from typing import TypeAlias

from consumer.events import Checkpoint

Row: TypeAlias = tuple[int, int]
"""Messages without a gap between them: the first sequence number, and how many they are."""


class Slot:
    """One message: how many of its events are unfinished, and which are done."""

    __slots__ = ("behind", "done", "offset", "row", "sequence_number", "unfinished", "watermark_ms")

    def __init__(self, sequence_number: int, offset: str, unfinished: int, watermark_ms: int) -> None:
        self.sequence_number = sequence_number
        self.offset = offset
        self.unfinished = unfinished
        self.watermark_ms = watermark_ms
        self.done = 0
        """A bit for each element that is resolved."""
        self.row = 1
        """How many messages it stands for: itself and those right before it, all done, of one event each."""
        self.behind: Slot | None = None
        """The message that came next, if this one is above the checkpoint."""


class CheckpointTracker:
    """The messages of one partition from receipt to resolution.

    Slots are opened with rising sequence numbers, gaps allowed; the events in them are resolved in any
    order, each once.
    """

    def __init__(self, checkpoint: Checkpoint, watermark_ms: int | None = None) -> None:
        self._reached = checkpoint.sequence_number
        self._offset = checkpoint.offset
        self.watermark_ms = watermark_ms
        """As it was when the message of the checkpoint arrived: from there the log is read again."""
        self._oldest: Slot | None = None
        self._newest: Slot | None = None
        self._length = 0

    @property
    def checkpoint(self) -> Checkpoint:
        """The highest message with nothing unfinished at or before it."""
        return Checkpoint(self._reached, self._offset)

    def __len__(self) -> int:
        """How many messages lie above the checkpoint."""
        return self._length

    def open(self, sequence_number: int, offset: str, events: int, watermark_ms: int) -> Slot:
        """Note a received message with a number of events, which may be 0."""
        assert sequence_number > self._reached, "received at or below the checkpoint"
        newest = self._newest
        assert newest is None or sequence_number > newest.sequence_number, "received out of order"
        slot = self._newest = Slot(sequence_number, offset, events, watermark_ms)
        self._length += 1
        if newest is None:
            self._oldest = slot
            if not events:
                self._advance(slot)
            return slot
        newest.behind = slot
        return slot

    def resolve(self, slot: Slot, index: int) -> None:
        """Note that one event of a message is resolved."""
        bit = 1 << index
        assert slot.unfinished > 0, "resolved more often than received"
        assert not slot.done & bit, "resolved twice"
        slot.unfinished -= 1
        slot.done |= bit
        if slot.unfinished == 0 and slot is self._oldest:
            self._advance(slot)

    def _advance(self, slot: Slot) -> None:
        """Move the checkpoint to the oldest message, which is finished, or as far behind it as all are."""
        while True:
            self._length -= slot.row
            behind = slot.behind
            if behind is None or behind.unfinished:
                break
            slot.behind = None
            slot = behind
        slot.behind = None
        self._oldest = behind
        if behind is None:
            self._newest = None
        self._reached = slot.sequence_number
        self._offset = slot.offset
        self.watermark_ms = slot.watermark_ms

    def done_above(self) -> tuple[list[Row], dict[int, list[int]]]:
        """What is resolved above the checkpoint.

        Messages of one event that is done, in rows; and of all others that are done in part or are empty, by
        sequence number, the sorted indexes of what is done.
        """
        rows: list[Row] = []
        others: dict[int, list[int]] = {}
        before = slot = self._oldest
        while slot is not None:
            behind = slot.behind
            if slot.done == 1 and not slot.unfinished:
                while behind is not None and behind.done == 1 and not behind.unfinished:
                    if behind.sequence_number - behind.row != slot.sequence_number:
                        break
                    behind.row += slot.row
                    slot.behind = None
                    slot, behind = behind, behind.behind
                assert before is not None, "the oldest one is not done"
                before.behind = slot
                rows.append((slot.sequence_number + 1 - slot.row, slot.row))
            elif slot.done or not slot.unfinished:
                others[slot.sequence_number] = _indexes(slot.done)
            before, slot = slot, behind
        return rows, others


def _indexes(done: int) -> list[int]:
    return [index for index in range(done.bit_length()) if done >> index & 1]
