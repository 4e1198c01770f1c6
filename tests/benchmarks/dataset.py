"""The log that every rival reads: objects that live their lives side by side, and what goes wrong on the way.

Everything comes from one seed. Of the messages in the log

* 10 % are there before: half of them the same message again, half the same change under a new id,
* 10 % come after a later event of their object, by less than the reorder window,
* 1 % come so late that a later event of their object was released long before: stale,
* 5 % are not for us: another topic, or a type that nobody asked for.

What comes within the window comes well within it, and what is late comes long after: so it makes no
difference whether a rival looks at the watermark for each event or for each batch. The truth is reckoned
here, from the stories; no rival's rules are asked.
"""

from __future__ import annotations

import itertools
import pickle
import random
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import stories
from benchmarks.stories import TOPICS, TYPES, Told, tell, times
from benchmarks.work import BATCH, WINDOW_MS, Batch, Log, digest_of

VERSION = 1
"""Of this file: rises when it makes another log."""
SEED = 4
EVENTS = 200_000
START_MS = int(datetime(2026, 11, 21, 6, 0, tzinfo=UTC).timestamp() * 1_000)
RATE = 500
"""Messages per second of log time, over all partitions."""
REPEATED, OVERTAKEN, LATE, FOREIGN = 0.10, 0.10, 0.01, 0.05
CACHE = Path(__file__).parents[2] / ".bench"


_GAP_MAX_MS = 1_000
"""Between two events of an object of which the second can overtake the first."""
_SHARE_OF_BURSTS = 2.1
"""One event in so many is followed by another one so soon."""


def open_log(events: int = EVENTS, partitions: int = 4, folder: Path = CACHE) -> Path:
    """The file with the log, made if it isn't there; `benchmarks.work.load` reads it."""
    path = folder / f"log-{VERSION}-{SEED}-{events}-{partitions}.pickle"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = make_log(events, partitions)
        fields = made._asdict() | {"partitions": [[tuple(b) for b in p] for p in made.partitions]}
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(pickle.dumps(fields, protocol=5))
        unfinished.replace(path)
    return path


def make_log(events: int, partitions: int) -> Log:
    """Make a log of so many events, of a tenth as many objects."""
    rng = random.Random(SEED)
    span_ms = events / RATE * 1_000
    objects = events // 10
    repeated, foreign = round(events * REPEATED), round(events * FOREIGN)
    fresh = events - repeated - foreign
    counts = Counter(repeated=repeated, foreign=foreign)
    sent: list[tuple[float, Told]] = []
    truth: list[tuple[str, int]] = []
    known: dict[str, int] = {}
    for number in range(objects):
        share = fresh * (number + 1) // objects - fresh * number // objects
        story = tell(rng, number, times(rng, share, span_ms), START_MS)
        arrivals = _arrivals(rng, story, counts)
        sent += zip(arrivals, story, strict=True)
        known.update((one.id, number) for one in story)
        truth += [
            (one.id, number)
            for at_ms, one in zip(arrivals, story, strict=True)
            if at_ms - one.at_ms < WINDOW_MS
        ]
    messages = [(at_ms, one.key, one.body) for at_ms, one in sent]
    for at_ms, one in rng.sample(sent, repeated):
        messages.append((at_ms + rng.expovariate(1 / 20_000), one.key, one.again))
    messages += [
        (rng.random() * span_ms, *stories.foreign(rng, number, START_MS)) for number in range(foreign)
    ]
    messages.sort()
    batches = [list(_batches(each, index)) for index, each in enumerate(_split(messages, partitions))]
    digest = digest_of((event_id for event_id, _ in truth), known)
    return Log(batches, list(TOPICS), list(TYPES), known, digest, len(truth), dict(counts))


def _arrivals(rng: random.Random, story: list[Told], counts: Counter[str]) -> list[float]:
    """When the events of an object get into the hub."""
    arrivals: list[float] = []
    was_late = False
    for one, following in itertools.zip_longest(story, story[1:]):
        at_ms, drawn = one.at_ms, rng.random()
        gap_ms = following.at_ms - one.at_ms if following else 1e9
        was_late = drawn < LATE and following is not None and not was_late
        if was_late:
            # The one that follows comes in time, and has been released for long.
            counts["late"] += 1
            at_ms = max(following.at_ms, one.at_ms + WINDOW_MS) + 6 * WINDOW_MS
        elif gap_ms < _GAP_MAX_MS and drawn < LATE + OVERTAKEN * _SHARE_OF_BURSTS:
            counts["overtaken"] += 1
            at_ms += gap_ms + rng.uniform(20, 1_000)
        arrivals.append(at_ms)
    return arrivals


def _split(messages: list[tuple[float, str, bytes]], partitions: int) -> list[list[tuple[float, str, bytes]]]:
    split: list[list[tuple[float, str, bytes]]] = [[] for _ in range(partitions)]
    for message in messages:
        split[zlib.crc32(message[1].encode()) % partitions].append(message)
    return split


def _batches(messages: list[tuple[float, str, bytes]], partition: int) -> Iterator[Batch]:
    for first in range(0, len(messages), BATCH):
        some = messages[first : first + BATCH]
        yield Batch(
            partition,
            [body for _, _, body in some],
            list(range(first, first + len(some))),
            [START_MS + int(at_ms) for at_ms, _, _ in some],
            [key for _, key, _ in some],
        )
