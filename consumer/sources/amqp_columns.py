"""What a receiving link has brought and nobody has taken yet, in columns."""

from __future__ import annotations

from typing import NamedTuple


class Stamp(NamedTuple):
    """What the hub wrote on a message."""

    sequence_number: int
    offset: str
    enqueued_time_ms: int
    partition_key: str | None


class Columns:
    """Messages in the order in which they came, one row each."""

    __slots__ = (
        "bodies", "enqueued_times_ms", "odd", "offsets", "partition_keys", "properties", "sequence_numbers",
        "told",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.sequence_numbers: list[int] = []
        self.offsets: list[str] = []
        self.enqueued_times_ms: list[int] = []
        self.partition_keys: list[str | None] = []
        self.properties: list[bytes] = []
        """The application properties as they came, encoded; b"" if there are none."""
        self.odd: list[tuple[int, bytes]] = []
        """Rows whose body is not made of plain bytes, and the whole message; the row's body is empty."""
        self.told = b""
        """What the hub said of the partition with the newest message, encoded; b"" if nothing."""

    def __len__(self) -> int:
        return len(self.bodies)

    def add(self, body: bytes, stamp: Stamp, properties: bytes) -> None:
        """Add a row."""
        self.bodies.append(body)
        self.sequence_numbers.append(stamp.sequence_number)
        self.offsets.append(stamp.offset)
        self.enqueued_times_ms.append(stamp.enqueued_time_ms)
        self.partition_keys.append(stamp.partition_key)
        self.properties.append(properties)

    def take(self, count: int) -> Columns:
        """Take the oldest `count` rows out, or all there are."""
        taken = Columns()
        taken.told = self.told
        if count >= len(self.bodies):
            taken.bodies, self.bodies = self.bodies, taken.bodies
            taken.sequence_numbers, self.sequence_numbers = self.sequence_numbers, taken.sequence_numbers
            taken.offsets, self.offsets = self.offsets, taken.offsets
            taken.enqueued_times_ms, self.enqueued_times_ms = self.enqueued_times_ms, taken.enqueued_times_ms
            taken.partition_keys, self.partition_keys = self.partition_keys, taken.partition_keys
            taken.properties, self.properties = self.properties, taken.properties
            taken.odd, self.odd = self.odd, taken.odd
            return taken
        taken.bodies, self.bodies = self.bodies[:count], self.bodies[count:]
        numbers, times = self.sequence_numbers, self.enqueued_times_ms
        taken.sequence_numbers, self.sequence_numbers = numbers[:count], numbers[count:]
        taken.enqueued_times_ms, self.enqueued_times_ms = times[:count], times[count:]
        taken.offsets, self.offsets = self.offsets[:count], self.offsets[count:]
        taken.partition_keys, self.partition_keys = self.partition_keys[:count], self.partition_keys[count:]
        taken.properties, self.properties = self.properties[:count], self.properties[count:]
        taken.odd = [each for each in self.odd if each[0] < count]
        self.odd = [(row - count, message) for row, message in self.odd if row >= count]
        return taken
