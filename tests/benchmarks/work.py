"""What is to be done, in values that every rival shares; needs nothing but Python.

A rival reads the columns of `Log`, and hands what it releases to three `Tally`s. Whatever it is built from,
the order of the events of every object has to come out as `Log.digest` says.
"""

from __future__ import annotations

import hashlib
import pickle
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

WINDOW_MS = 5_000
"""Log time for which an event waits for earlier ones: the product's default."""
DEDUPE_WINDOW_MS = 25 * 3_600_000
"""Log time for which an identity is remembered: the product's default."""
BATCH = 300
"""Messages that are read at once: the product's default."""
QUEUE_BATCHES = 4
"""Batches that wait for a processor at most, in whoever counts batches; about `QUEUE_EVENTS`."""
QUEUE_EVENTS = 1_000
"""Events that wait for a processor at most, per partition: the product's default."""
PROCESSORS = ("first", "second", "third")


class Batch(NamedTuple):
    """Messages of one partition, in columns."""

    partition: int
    bodies: list[bytes]
    sequence_numbers: list[int]
    enqueued_times_ms: list[int]
    partition_keys: list[str]


class Log(NamedTuple):
    """What is in the hub, and what has to come of it."""

    partitions: list[list[Batch]]
    topics: list[str]
    """The resource ids that are admitted."""
    types: list[str]
    """The event types that are admitted."""
    objects: dict[str, int]
    """Event id to the number of its object, for the digest."""
    digest: str
    """See `digest_of`; reckoned from the stories that the log was made from."""
    delivered: int
    """Events that each processor has to be given."""
    counts: Mapping[str, int]
    """How many messages are in the log for which reason."""

    @property
    def events(self) -> int:
        return sum(len(batch.bodies) for batches in self.partitions for batch in batches)

    @property
    def ends(self) -> list[int]:
        """The last sequence number of each partition."""
        return [batches[-1].sequence_numbers[-1] for batches in self.partitions]

    def in_order_of_arrival(self) -> Iterable[Batch]:
        """The batches of all partitions, each in turn."""
        longest = max(len(batches) for batches in self.partitions)
        for index in range(longest):
            for batches in self.partitions:
                if index < len(batches):
                    yield batches[index]


def load(path: Path) -> Log:
    """Read a log that `benchmarks.dataset` has written."""
    with path.open("rb") as file:
        fields = pickle.load(file)
    partitions = [[Batch(*batch) for batch in batches] for batches in fields.pop("partitions")]
    return Log(partitions, **fields)


class Tally:
    """What a processor does in every rival: it counts, and notes the ids in the order in which they came.

    That costs some tens of nanoseconds an event; the digest is made of it when the clock has stopped.
    """

    def __init__(self, course: Course) -> None:
        self.count = 0
        self.ids: list[str] = []
        self._course = course

    def take(self, ids: Sequence[str]) -> None:
        """Count the events of a batch."""
        self.count += len(ids)
        self.ids.extend(ids)
        self._course.passed(len(ids))


class Course:
    """The clock of a run, and the processors' tallies: it stops when each has been given everything."""

    def __init__(self, delivered: int) -> None:
        self.tallies = [Tally(self) for _ in PROCESSORS]
        self.on_end: Callable[[], None] = lambda: None
        self.cpu_s = self.wall_s = 0.0
        self._left = delivered * len(PROCESSORS)
        self._waits_for_first = False
        self._began = 0.0, 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._began = time.process_time(), time.perf_counter()

    def begin_with_first(self) -> None:
        """Start the clock again when a processor is given something: until then, connections are made."""
        self._waits_for_first = True

    def passed(self, count: int) -> None:
        """Note that a processor was given so many events."""
        if self._waits_for_first:
            self._waits_for_first = False
            self.begin()
        self._left -= count
        if self._left <= 0:
            self.end()
            self.on_end()

    def end(self) -> None:
        """Stop the clock; once more counts again."""
        cpu_s, wall_s = self._began
        self.cpu_s, self.wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s


def digest_of(ids: Iterable[str], objects: Mapping[str, int]) -> str:
    """A digest that depends on the order of the events of every object, and on nothing else.

    An event that is missing, superfluous, there twice or out of turn makes another one.
    """
    chains: Counter[int] = Counter()
    for event_id in ids:
        number = objects[event_id]
        chains[number] = zlib.crc32(event_id.encode(), chains[number])
    written = "\n".join(f"{number} {chain:08x}" for number, chain in sorted(chains.items()))
    return hashlib.sha256(written.encode()).hexdigest()[:12]


class Result(NamedTuple):
    """What a rival reports of one run."""

    cpu_s: float
    wall_s: float
    events: int
    digests: list[str]
    """Of each processor."""
    delivered: int
    checkpoints: int = 0
    """Writes of a partition's checkpoint."""
    build: str = ""
    rss_mb: float = 0.0
    """By how much the memory of the process grew at most."""
    latencies_ms: Sequence[float] = ()
    """Of each event that came, where that was asked for."""
