"""What can be configured of a processor: what it is given, how it is run, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from consumer.filter_settings import FilterSettings
from consumer.processor import INTERNAL
from consumer.setting_rules import Concern, Finding, Start, refuse

Text = Annotated[str, Field(min_length=1, max_length=1_024)]
TypePattern = Annotated[str, Field(max_length=256, pattern=r"^([^\s*]+\*?|\*)$")]
"""An event type, or with ``*`` at the end the beginning of some; ``*`` alone is all of them."""


class RetrySettings(Concern):
    """When a failed attempt is made again: exponential back-off with jitter."""

    attempts: int = Field(default=5, ge=1, le=1_000)
    """Attempts in all; after the last one `on_failure` decides."""
    backoff_s: float = Field(default=0.5, ge=0, le=3_600)
    """The longest wait before the second attempt, in seconds; doubled for every further one."""
    backoff_max_s: float = Field(default=30.0, ge=0, le=3_600)
    """No wait is longer, in seconds."""

    @model_validator(mode="after")
    def _check_waits(self) -> Self:
        if self.backoff_max_s < self.backoff_s:
            at = "backoff_max_s" if "backoff_max_s" in self.model_fields_set else "backoff_s"
            refuse(
                Finding(
                    (at,),
                    f"backoff_max_s ({self.backoff_max_s:g}) is less than backoff_s ({self.backoff_s:g})",
                )
            )
        return self


class BreakerSettings(Concern):
    """When a processor's target is taken for down: then its events wait, and none is given up for that."""

    enabled: bool = True
    """Whether there is one. Without it, every event spends its attempts on a target that is down."""
    failures: int = Field(default=5, ge=1, le=1_000)
    """Failed attempts in a row, of whatever events, that open it. Rejected events do not count."""
    open_s: float = Field(default=5.0, ge=0.1, le=3_600)
    """Seconds until one event is tried; doubled whenever that fails."""
    open_max_s: float = Field(default=60.0, ge=0.1, le=3_600)
    """No wait is longer, in seconds."""

    @model_validator(mode="after")
    def _check_waits(self) -> Self:
        if self.open_max_s < self.open_s:
            at = "open_max_s" if "open_max_s" in self.model_fields_set else "open_s"
            refuse(Finding((at,), f"open_max_s ({self.open_max_s:g}) is less than open_s ({self.open_s:g})"))
        return self


class RateSettings(Concern):
    """How fast a processor may be given events, over all partitions of a process."""

    events: int = Field(ge=1, le=1_000_000)
    """So many events, counted again at every attempt."""
    per_s: float = Field(default=1.0, gt=0, le=86_400)
    """In so many seconds."""
    burst: int | None = Field(default=None, ge=1, le=1_000_000)
    """Events that may begin at once after a pause, and the longest chunk. The default is `events`."""


class ProcessorSettings(Concern):
    """One processor: what it is, what it is given, and what happens when it fails."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    """Its name in logs, metrics, keys and dead letters; unique. To rename it is to make a new one."""
    type: Text
    """A built-in processor, one that an installed package brings, or module:attribute."""
    types: tuple[TypePattern, ...] = Field(default=("*",), min_length=1)
    """The event types it is given; with * at the end the beginning of some. The default is all."""
    filter: FilterSettings | None = None
    """What an event has to be like beyond its type, as Event Grid's own filters say it."""
    delivery: Literal["in_turn", "on_arrival", "latest"] = "in_turn"
    """in_turn: in order. on_arrival: at once, in no order. latest: in order, without what is superseded."""
    stale: Literal["skip", "deliver"] = "skip"
    """What to do with an event that comes after a later one of its object was released."""
    concurrency: int = Field(default=8, ge=1, le=1_000)
    """Lanes per partition. An object keeps its lane, so its events are handled one at a time."""
    queue_max: int = Field(default=1_000, ge=1, le=100_000)
    """Events that wait for this processor, per partition; at the limit reading pauses."""
    chunk_max: int = Field(default=100, ge=1, le=10_000)
    """Events given at once to a processor that takes batches; more come with the next chunk."""
    deadline_s: float = Field(default=30.0, gt=0, le=86_400)
    """Seconds an attempt may take; then it is cancelled and counts as failed."""
    retry: RetrySettings = RetrySettings()
    """When a failed attempt is made again."""
    breaker: BreakerSettings = BreakerSettings()
    """When nothing is attempted for a while, because everything fails."""
    rate: RateSettings | None = None
    """How many events it is given in what time; what is beyond that waits. The default is no limit."""
    on_failure: Literal["dead_letter", "block"] = "dead_letter"
    """When attempts are spent. dead_letter: put it aside and go on. block: try for ever, the lane waits."""
    on_failure_order: Literal["continue", "park"] = "continue"
    """When an event is put aside. continue: go on with the next one of its object. park: put that aside too.

    Then all later events of the object wait in the dead letters, in order, until they are redriven or purged.
    """
    parked_max: int = Field(default=1_000, ge=1, le=100_000)
    """Objects parked, per partition; at the limit a further failure keeps its lane, and is tried again."""
    consumer_group: str | None = Field(default=None, pattern=r"^[A-Za-z0-9$][A-Za-z0-9._-]{0,49}$")
    """A consumer group of its own, with a position of its own: it holds up nobody, however long it hangs.

    The hub is read once more for each group, and the group has to be there. Processors may share one.
    """
    begin: Start | None = Field(default=None, alias="from")
    """Where a consumer group of its own begins: earliest, latest or an RFC 3339 time.

    Once something is stored for the group, it goes on from there. The default is source.start.
    """
    options: dict[str, Any] = Field(default_factory=dict, alias="with")
    """The processor's own settings."""

    @property
    def internal_types(self) -> tuple[str, ...]:
        """The types of internal events that it names; ``*`` names none."""
        return tuple(kind for kind in self.types if _is_internal(kind))

    @property
    def hub_types(self) -> tuple[str, ...]:
        """The types of the hub's events that it is given."""
        return tuple(kind for kind in self.types if not _is_internal(kind))


def _is_internal(kind: str) -> bool:
    return kind.casefold().startswith(INTERNAL.casefold())


def group_findings(processors: Sequence[ProcessorSettings], shared: str | None) -> Iterator[Finding]:
    """What is wrong with consumer groups of processors; `shared` is the source's, None: it has none."""
    first: dict[str, ProcessorSettings] = {}
    for index, each in enumerate(processors):
        group, begin = each.consumer_group, each.begin
        if group is None:
            if begin is not None:
                yield Finding(
                    ("processors", index, "from"),
                    "needs a consumer_group: there is one link to a partition for each group, so a processor "
                    "that is new in the shared one begins at its checkpoint",
                )
            continue
        at = ("processors", index, "consumer_group")
        other = first.setdefault(group.casefold(), each)
        if shared is None:
            yield Finding(at, "only a source of the type eventhub has consumer groups for processors")
        elif group.casefold() == shared.casefold():
            yield Finding(at, f"{group} is the group that the others share: leave it out, or give it its own")
        elif group != other.consumer_group:
            yield Finding(at, f"{other.name} spells it {other.consumer_group}: they are one group")
        elif begin is not None and other.begin not in (None, begin):
            yield Finding(
                ("processors", index, "from"),
                f"{other.name} has the same consumer group and says otherwise: a group begins at one place",
            )
