"""What a file of cases says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from consumer.events import Outcome
from consumer.setting_rules import Concern, Finding, refuse

Text = Annotated[str, Field(min_length=1, max_length=4_096)]


class Step(Concern):
    """One thing that happens: an event comes (`type` or `file`), or time passes (`wait_s`)."""

    type: Text | None = None
    """The event's type. One that begins with ``Inturn.`` is emitted as a processor or a rule would."""
    subject: Text = "subject"
    """The event's subject."""
    topic: Text | None = None
    """The resource id that it comes from; the default is the first that `admission.topics` names."""
    data: Any = Field(default_factory=dict)
    """The event's data."""
    id: Text | None = None
    """The event's id; the default is its number in the case, from 1."""
    time: AwareDatetime | None = None
    """When it happened; the default is when it comes."""
    schema_: Literal["eventgrid", "cloudevents"] = Field(default="eventgrid", alias="schema")
    """The envelope it comes in."""
    file: Path | None = None
    """A file with one message as it stands in a hub, instead; relative to the file of cases."""
    after_s: float = Field(default=0.0, ge=0, le=10_000_000)
    """Seconds of log time that pass before it comes."""
    wait_s: float | None = Field(default=None, gt=0, le=10_000_000)
    """Seconds of log time that pass without an event."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        told = [name for name in ("type", "file", "wait_s") if getattr(self, name) is not None]
        if len(told) != 1:
            refuse(Finding((), "should have one of type, file and wait_s"))
        if told != ["type"]:
            extra = sorted(self.model_fields_set & {"subject", "topic", "data", "id", "time", "schema_"})
            refuse(*(Finding((name.rstrip("_"),), f"says nothing beside {told[0]}") for name in extra))
        return self


class Case(Concern):
    """Events, and what has to come of them. What is not named in the expectation is not looked at."""

    name: Text
    """What the case shows; unique."""
    events: tuple[Step, ...] = Field(min_length=1, max_length=10_000)
    """What happens, in this order. All of it comes to one partition."""
    expect: dict[str, tuple[dict[str, Any], ...]] = Field(default_factory=dict)
    """By processor: what it is given, in order, and would do: type, subject, id, topic, stale, data, effect.

    An event with which it would do nothing is not among them. Each entry names as much as
    matters; text that begins with ``~`` is a regular expression to be found. An empty list: it does nothing.
    """
    dead_letters: tuple[dict[str, Any], ...] | None = None
    """The dead letters, in order: reason, processor, error, id, type, subject. The default: not looked at."""
    outcomes: dict[Outcome, int] | None = None
    """How many events end how; what is not named is 0."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        found = []
        for processor, entries in self.expect.items():
            found += _unknown(("expect", processor), entries, GIVEN)
            found += _broken_patterns(("expect", processor), entries)
        found += _unknown(("dead_letters",), self.dead_letters or (), PUT_ASIDE)
        found += _broken_patterns(("dead_letters",), self.dead_letters or ())
        refuse(*found)
        return self


GIVEN = ("type", "subject", "id", "topic", "stale", "data", "effect")
"""What is told of an event that a processor was given."""
PUT_ASIDE = ("reason", "processor", "error", "id", "type", "subject")
"""What is told of a dead letter."""


class CaseFile(Concern):
    """A file of cases."""

    cases: tuple[Case, ...] = Field(min_length=1, max_length=1_000)
    """The cases; each begins with nothing done and nothing known."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [case.name for case in self.cases]
        refuse(
            *(
                Finding(("cases", index, "name"), "is the name of an earlier case; give it its own")
                for index, name in enumerate(names)
                if name in names[:index]
            )
        )
        return self


def _unknown(
    way: tuple[str, ...], entries: tuple[dict[str, Any], ...], known: tuple[str, ...]
) -> list[Finding]:
    return [
        Finding((*way, index, key), f"there is no such thing to expect; there are {', '.join(known)}")
        for index, entry in enumerate(entries)
        for key in entry
        if key not in known
    ]


def _broken_patterns(way: tuple[str | int, ...], value: Any) -> Iterator[Finding]:
    """Text that begins with ``~`` and is no regular expression: it would never be found."""
    if isinstance(value, Mapping):
        inner: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    else:
        if isinstance(value, str) and value.startswith("~"):
            try:
                re.compile(value[1:])
            except re.error as error:
                yield Finding(way, f"is no regular expression: {error}")
        return
    for key, each in inner:
        yield from _broken_patterns((*way, key), each)
