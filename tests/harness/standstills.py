"""When partitions stood still although there was something to do, and which kills are to blame.

A partition stands still from one new effect to the next, as far as an event of it could already have had its
effect. What a killed worker had is nobody's until its ownership has expired; so a standstill is put down to
every kill of whoever had the partition, or may just have been given it, and to none otherwise.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from harness.worlds import Worker, World

IDLE_MARGIN_S = 5.0
"""Of the world's configuration: after so long without an event the clock says that a window is over."""
_AT_WORK_S = 1.0
"""The last effect of a worker may be so long before it is killed."""


class Tenure(NamedTuple):
    """A partition, and who had it. Times in seconds since 1970."""

    partition: str
    worker: Worker
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Standstill:
    """A partition without a new effect, while events of it were waiting."""

    partition: str
    from_s: float
    to_s: float
    kills_s: tuple[float, ...]
    """When the workers were killed that are to blame."""

    @property
    def took_s(self) -> float:
        return self.to_s - self.from_s

    @property
    def since_kill_s(self) -> float:
        """How long it took since the last kill that is to blame: then the waiting began anew."""
        return self.to_s - max((self.from_s, *self.kills_s))

    def __str__(self) -> str:
        kills = (
            f", after kills at {', '.join(f'{each:.1f}' for each in self.kills_s)}" if self.kills_s else ""
        )
        return (
            f"partition {self.partition} stood still for {self.took_s:.1f} s, from {self.from_s:.1f}{kills}"
        )


def standstills(world: World, killed: Sequence[Worker]) -> list[Standstill]:
    """Every standstill in a world that has come to its end, the longest first."""
    tenures = [tenure for worker in world.workers for tenure in _tenures(worker)]
    outages = [outage for worker in killed for outage in _outages(worker, tenures, world.logs())]
    found = [
        Standstill(
            partition,
            from_s,
            to_s,
            tuple(
                sorted(
                    outage.from_s
                    for outage in outages
                    if outage.partition == partition
                    and outage.from_s - _AT_WORK_S < to_s
                    and from_s < outage.to_s
                )
            ),
        )
        for partition, waited in _waited(world).items()
        for from_s, to_s in _stretches(sorted(waited))
    ]
    return sorted(found, key=lambda each: -each.took_s)


def _tenures(worker: Worker) -> Iterator[Tenure]:
    """What a worker had, by its log."""
    since_s: dict[str, float] = {}
    for line in worker.log:
        at_s = datetime.fromisoformat(line["timestamp"]).timestamp()
        match line["event"]:
            case "A partition was assigned.":
                since_s[line["partition"]] = at_s
            case "A partition was drained." | "A partition was lost to another owner.":
                if line["partition"] in since_s:
                    yield Tenure(line["partition"], worker, since_s.pop(line["partition"]), at_s)
    for partition, from_s in since_s.items():
        yield Tenure(partition, worker, from_s, worker.ended_s or float("inf"))


def _outages(worker: Worker, tenures: Sequence[Tenure], partitions: Iterable[str]) -> Iterator[Tenure]:
    """What a killed worker had, and what nobody had just then, until somebody had it again."""
    killed_s = worker.ended_s or 0.0
    for partition in partitions:
        of_it = [each for each in tenures if each.partition == partition]
        holders = [each.worker for each in of_it if each.from_s <= killed_s <= each.to_s]
        if holders and worker not in holders:
            continue
        again_s = min((each.from_s for each in of_it if each.from_s > killed_s), default=float("inf"))
        yield Tenure(partition, worker, killed_s, again_s)


def _waited(world: World) -> dict[str, list[tuple[float, float]]]:
    """By partition: when each event had its first effect, and since when it could have had it."""
    done_s: dict[Any, float] = {}
    for effect in world.receiver.effects:
        done_s.setdefault(effect.position, effect.at_s)
    ready_s = {partition: _ready_s(log, world.window_s) for partition, log in world.logs().items()}
    waited = defaultdict(list)
    for position, at_s in done_s.items():
        waited[position.partition].append((at_s, ready_s[position.partition][position.sequence_number]))
    return waited


def _ready_s(log: Sequence[Any], window_s: float) -> list[float]:
    """Of every message, when the log, or else the clock, said that its window was over."""
    times_s = [message.enqueued_time_ms / 1_000 for message in log]
    ready_s = []
    for at_s in times_s:
        after = bisect_left(times_s, at_s + window_s)
        by_clock_s = at_s + window_s + IDLE_MARGIN_S
        ready_s.append(min(times_s[after], by_clock_s) if after < len(times_s) else by_clock_s)
    return ready_s


def _stretches(waited: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Between an effect and the next, from when one of those to come could have had its effect."""
    since_s = float("inf")
    for number in range(len(waited) - 1, 0, -1):
        since_s = min(since_s, waited[number][1])
        from_s, to_s = max(waited[number - 1][0], since_s), waited[number][0]
        if from_s < to_s:
            yield from_s, to_s
