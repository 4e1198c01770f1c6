"""The errors that inturn raises, named by who must act.

InturnError
 ├─ ConfigurationError      the operator: the configuration is wrong          exit 78
 │   └─ ProcessorSettingsError  …of one processor
 ├─ TemporaryError          nobody yet: it may heal, and is retried           exit 75
 │   ├─ SourceUnavailable   the hub does not answer, or refuses us
 │   ├─ StoreUnavailable    the checkpoint or dead-letter store does not answer
 │   └─ PortTaken           another program listens where we want to
 ├─ FenceLost               nobody: another owner has the partition; we fall silent
 ├─ BadData                 whoever published it: the event's data is no JSON that we take; dead letter
 └─ CorruptState            the operator: stored state is of no use; nothing was overwritten   exit 75
     ├─ NewerState          …because a newer version of inturn wrote it
     └─ EventsLost          …because events after it are gone, and `source.on_gap` says halt

What a processor raises (`Retry`, `Reject`) is in `consumer.processor`. Expected outcomes of
decoding are values (`consumer.core.decode.Rejection`), not errors.
"""

from __future__ import annotations

from consumer.reasons import Reason


class InturnError(Exception):
    """Whatever inturn raises on purpose."""


class ConfigurationError(InturnError):
    """The configuration is wrong. Carries every finding, each with its place and what was meant."""

    def __init__(self, *findings: str) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class ProcessorSettingsError(ConfigurationError):
    """A processor refused its settings."""


class TemporaryError(InturnError):
    """Something that may heal by itself; it is retried with a back-off."""


class SourceUnavailable(TemporaryError):
    """The source does not answer or refuses us: no hub, wrong key, no such consumer group."""


class StoreUnavailable(TemporaryError):
    """The store does not answer or refuses us: no container, no rights, disk full."""


class PortTaken(TemporaryError):
    """Another program listens on the port; it may be an earlier inturn that is still draining."""


class FenceLost(InturnError):
    """The stored state was written by another owner since we read it: the partition is not ours any more."""


class BadData(InturnError):
    """The data of an event cannot be taken, which showed only when it was asked for; `reason` says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CorruptState(InturnError):
    """Stored state cannot be read. It was left as it is; an operator decides."""


class EventsLost(CorruptState):
    """Events were removed before they were read: retention, or a recreated hub."""

    def __init__(self, partition: str, first: int, last: int) -> None:
        """`first` and `last` are the missing sequence numbers, both included."""
        super().__init__(
            f"The events {first} to {last} of partition {partition} are gone: they were removed before they "
            "were read. To go on without them, move the checkpoint with `inturn checkpoint rewind --to "
            "earliest`, or set `source.on_gap: continue`."
        )
        self.first = first
        self.last = last


class NewerState(CorruptState):
    """Stored state has the format of a newer inturn. It is whole: never replaced, and never gone behind."""
