"""What `inturn check --deep` says of placement: whether an object's events lie together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import typer

from consumer.errors import SourceUnavailable
from consumer.opening import Keying
from consumer.sources.stretch import Extent, Log

SAMPLE = 300
"""The newest messages of every partition that are looked at."""
_UNIT_EVENTS_PER_S = 1_000
"""What a throughput unit of Event Hubs takes in."""


@dataclass(slots=True)
class Placement:
    """What a sample of the newest messages shows."""

    messages: int = 0
    unkeyed: int = 0
    """Messages that were placed by no key."""
    places: dict[bytes, set[str]] = field(default_factory=dict)
    """The partitions on which each object was seen."""
    rate_per_s: float = 0.0
    """Messages enqueued a second, as the samples of all partitions have it together."""

    @property
    def spread(self) -> int:
        """Objects with events on several partitions."""
        return sum(len(partitions) > 1 for partitions in self.places.values())


async def sample(log: Log, extents: list[Extent], keying: Keying) -> Placement:
    """Look at the newest messages of every partition. Raises `SourceUnavailable`."""
    placement = Placement()
    for extent in extents:
        after = max(extent.begin - 1, extent.newest - SAMPLE)
        if extent.newest <= after:
            continue
        times_ms: list[int] = []
        async with aclosing(log.batches(extent.partition, after, extent.newest)) as batches:
            async for batch in batches:
                times_ms += batch.enqueued_times_ms
                placement.messages += len(batch)
                placement.unkeyed += sum(key is None for key in batch.partition_keys)
                for events in keying.find(batch):
                    for key, _ in events:
                        placement.places.setdefault(key, set()).add(extent.partition)
        took_s = (max(times_ms) - min(times_ms)) / 1_000 if times_ms else 0.0
        placement.rate_per_s += len(times_ms) / took_s if took_s > 0 else 0.0
    return placement


def say(placement: Placement, *, is_rekeyed: bool) -> Iterator[str]:
    """Tell what was seen, and give the findings."""
    if not placement.messages:
        typer.echo("placement: unknown, there are no messages")
        return
    objects, spread = len(placement.places), placement.spread
    typer.echo(
        f"placement: {'spread' if spread else 'keyed'}; of the newest {placement.messages} messages "
        f"{placement.unkeyed} have no key, and of {objects} objects {spread} are on several partitions"
    )
    rate = placement.rate_per_s
    cost = f"about {rate:,.0f} messages/s" if rate else "as many messages"
    if is_rekeyed:
        if not spread:
            yield "source.placement is spread, and no object is: keyed would save the second topic."
        units = max(1, round(rate / _UNIT_EVENTS_PER_S + 0.5))
        typer.echo(
            f"re-keying: {cost} come in twice; in Event Hubs {units} throughput units more at the most"
        )
    elif spread:
        yield (
            f"the events of {spread} objects lie on several partitions: their order cannot be kept. Set the "
            "delivery property PartitionKey on the event subscription, or re-key with source.type kafka and "
            f"placement spread: {cost} would come in twice."
        )


async def look(log: Log, keying: Keying, *, is_rekeyed: bool) -> list[str]:
    """Sample a log and give the findings; one that cannot be read beside its consumer is none."""
    try:
        return list(say(await sample(log, await log.extents(), keying), is_rekeyed=is_rekeyed))
    except SourceUnavailable as error:
        typer.echo(f"placement: not looked at: {error}")
        return []
