"""Which dead letters are meant: what stands in line together, and what a filter picks out."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import NamedTuple

from consumer.events import DeadLetter, PartitionId, Reason
from consumer.stores.naming import folded

_DIGEST_BYTES = 15
"""Twenty characters in base64, and none of them padding."""


class Line(NamedTuple):
    """The letters of one processor and one object: they are redriven one behind the other.

    Names that Azure does not tell apart by case are folded; make one with `line_in` or `line_of`.
    """

    namespace: str
    hub: str
    group: str
    processor: str
    topic: str
    object_path: str

    @property
    def digest(self) -> str:
        """Stands for processor and object within a consumer group: 20 URL-safe characters."""
        parts = (self.processor, self.topic, self.object_path)
        text = "\x1f".join(f"{len(part)}:{part}" for part in parts)
        whole = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
        return urlsafe_b64encode(whole[:_DIGEST_BYTES]).decode("ascii")


def line_in(partition: PartitionId, processor: str, topic: str, object_path: str) -> Line:
    """The line of a processor and an object in a partition's consumer group."""
    namespace, hub, group, _ = folded(partition)
    # A text that UTF-8 cannot hold is stored with that spelled out, and must lead to the same line then.
    names = (name.encode("utf-8", "backslashreplace").decode("utf-8") for name in (topic, object_path))
    topic, object_path = names
    return Line(namespace, hub, group, processor, topic.casefold(), object_path)


def line_of(letter: DeadLetter) -> Line | None:
    """The line that a letter stands in; None if no processor failed, or its object is not known."""
    if letter.processor is None or not letter.object_path:
        return None
    return line_in(letter.partition, letter.processor, letter.topic, letter.object_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Picks letters: one has to have everything that is asked for. Nothing asked for: all letters.

    Texts that end with ``*`` are the beginning of what is meant.
    """

    processors: tuple[str, ...] = ()
    """One of these failed."""
    reasons: tuple[Reason, ...] = ()
    """Put aside for one of these."""
    since_ms: int | None = None
    """Put aside at this time or later, milliseconds since 1970."""
    until_ms: int | None = None
    """Put aside before this time."""
    key: str = ""
    """The beginning of the letter's key."""
    type: str | None = None
    """The event type, without regard to case."""
    topic: str | None = None
    """The topic, without regard to case."""
    object: str | None = None
    """The object's path, or the event's subject."""
    line: Line | None = None
    """Exactly this line."""

    @property
    def asks_nothing(self) -> bool:
        """Whether it picks all letters."""
        return self == _ALL

    @property
    def asks_names(self) -> bool:
        """Whether `matches_names` has to be asked."""
        return any(each is not None for each in (self.type, self.topic, self.object))

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        at_ms = letter.dead_lettered_at_ms
        return (
            (not self.processors or letter.processor in self.processors)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
            and letter.key.startswith(self.key)
            and (self.line is None or self.line == line_of(letter))
            and self.matches_names(letter.event_type, letter.topic, letter.subject, letter.object_path)
        )

    def matches_names(self, event_type: str, topic: str, subject: str, object_path: str) -> bool:
        """Whether type, topic and object are those that are asked for."""
        return (
            (self.type is None or _is_like(self.type.casefold(), event_type.casefold()))
            and (self.topic is None or _is_like(_topic(self.topic), _topic(topic)))
            and (self.object is None or any(_is_like(self.object, name) for name in (object_path, subject)))
        )


_ALL = LetterFilter()


def _is_like(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _topic(topic: str) -> str:
    return topic.casefold().rstrip("/")
