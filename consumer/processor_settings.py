"""What can be configured of a processor: what it is given, how it is run, and what happens when it fails."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from consumer.filter_settings import FilterSettings
from consumer.setting_rules import Concern, Finding, refuse

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
    on_failure: Literal["dead_letter", "block"] = "dead_letter"
    """When attempts are spent. dead_letter: put it aside and go on. block: try for ever, the lane waits."""
    options: dict[str, Any] = Field(default_factory=dict, alias="with")
    """The processor's own settings."""
