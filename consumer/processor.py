"""The contract between inturn and a processor.

A processor is an async callable. Returning means done; `Retry` means again, later; `NotYet` the same, but
nothing has failed; `Reject` means that this event can never be handled and is dead-lettered. Anything else is
a fault and is retried by policy. Every attempt has a deadline, after which it is cancelled. A processor may
see an event twice, after a crash or a lost acknowledgement, and then with the same idempotency key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import orjson

from consumer.events import Event
from consumer.strict_json import loads

INTERNAL = "Inturn."
"""How the types of events begin that processors and rules of ours emit. Only a processor that names such a
type gets them: ``*`` does not."""


EMITTED_MAX = 1_000
"""Internal events of one attempt."""
EMITTED_BYTES_MAX = 65_536
"""Bytes of one, as JSON: it is in the state until everybody is done with it."""


class Retry(Exception):
    """Raised by a processor that wants the event again, `after_s` seconds from now at the earliest."""

    def __init__(self, reason: str = "", *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class NotYet(Retry):
    """Raised by a processor that only has to wait: an operation goes on, a limit of its own is reached.

    Nothing has failed: no attempt is spent, and the breaker is told nothing. An event can be put off for a
    day in all; from then on it is a failed attempt.
    """


class Reject(Exception):
    """Raised by a processor for an event that no further attempt can help: dead letter."""


class Surroundings(NamedTuple):
    """What a processor's settings are used in; ``Settings.misfits``, if there is one, may object to it.

    That is a method which is given this and yields the name of a setting and what does not fit about it.
    """

    deadline_s: float
    """Of one attempt."""
    sources: tuple[tuple[str, str], ...]
    """Where events come from: a host, with its port if one is given, and the hub or topic."""


class Emission(NamedTuple):
    """An internal event that a processor asks for."""

    cause: Event
    type: str
    """Begins with `INTERNAL`."""
    subject: str
    data: Mapping[str, Any]
    """What JSON can hold."""


class Context:
    """What a processor is told besides the event."""

    __slots__ = ("_key_of", "attempt", "emitted", "epoch", "events", "processor", "replay_id")

    def __init__(
        self,
        processor: str,
        attempt: int,
        events: Sequence[Event],
        key_of: Callable[[Event], str],
        replay_id: str = "",
        epoch: int = 0,
    ) -> None:
        self.processor = processor
        """The processor's name in the configuration."""
        self.attempt = attempt
        """1 for the first attempt."""
        self.events = events
        self.replay_id = replay_id
        """Of the replay that the events are read in; "" when they are consumed live. A part of the keys."""
        self.epoch = epoch
        """Rises by one with every owner of the partition; 0: nobody counts. A receiver that remembers the
        highest one of a partition can refuse what an older owner, frozen half-way, still sends."""
        self.emitted: list[Emission] = []
        """What is emitted if this attempt succeeds."""
        self._key_of = key_of

    def emit(self, type_: str, subject: str, data: Mapping[str, Any], *, cause: Event | None = None) -> None:
        """Have an internal event given to the processors that name its type, once this attempt has succeeded.

        It is stored with the outcome of `cause` (default: the first event), so it is neither lost nor emitted
        twice by a crash. Raises `ValueError` for a type that does not begin with `INTERNAL`, for data that is
        not JSON or too much, and for a cause that is internal itself: there are no chains.
        """
        cause = cause or self.events[0]
        if cause not in self.events:
            raise ValueError("The cause is none of the events of this attempt.")
        if not type_.startswith(INTERNAL):
            raise ValueError(f"The type of an internal event begins with {INTERNAL}; {type_} does not.")
        if cause.type.startswith(INTERNAL):
            raise ValueError("What is emitted for an internal event would never end: there are no chains.")
        as_it_is_now = _read_again(cause.topic, type_, subject, data)
        if len(self.emitted) >= EMITTED_MAX:
            raise ValueError(f"More than {EMITTED_MAX} internal events of one attempt.")
        self.emitted.append(Emission(cause, type_, subject, as_it_is_now))

    @property
    def idempotency_key(self) -> str:
        """The key of the first (or only) event: the same over retries, owners and restarts."""
        return self._key_of(self.events[0])

    def key_of(self, event: Event) -> str:
        """The key of one event of a batch."""
        return self._key_of(event)


def _read_again(topic: str, type_: str, subject: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the data; raises `ValueError` for what could not be written, or not be read again."""
    try:
        written = orjson.dumps((topic, type_, subject, data))
        read = loads(written)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The data of an internal event is JSON: {error}.") from None
    copy = read[3]
    if not subject or not isinstance(copy, dict):
        raise ValueError("An internal event has a subject, and its data is an object.")
    if len(written) > EMITTED_BYTES_MAX:
        raise ValueError(f"An internal event has at most {EMITTED_BYTES_MAX} bytes; this has {len(written)}.")
    return copy


class Processor(Protocol):
    """Handles one event at a time."""

    async def __call__(self, event: Event, context: Context) -> None:
        """Handle an event, or raise `Retry`, `Reject`, or anything else for a fault."""


@runtime_checkable
class BatchProcessor(Protocol):
    """Handles what waits in a lane at once. An error concerns every event of the chunk."""

    async def process_batch(self, events: Sequence[Event], context: Context) -> None:
        """Handle events in order; may raise what a `Processor` may."""


@runtime_checkable
class Resource(Protocol):
    """A processor that must be opened before the first event and closed after the last."""

    async def open(self) -> None:
        """Get ready; raising keeps inturn from starting."""

    async def close(self) -> None:
        """Let go of everything; called once, after the last attempt has ended."""


@runtime_checkable
class Previewer(Protocol):
    """A processor that can say what it would do; `inturn test` and dry runs ask it."""

    def preview(self, event: Event, context: Context) -> Mapping[str, Any] | None:
        """What handling the event would do, as JSON values and without secrets; nothing goes out.

        None: nothing would be done. May raise `Reject`, as handling would.
        """
