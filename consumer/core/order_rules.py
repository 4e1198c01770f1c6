"""The rules by which the catalogue finds what orders an event: each reads one value, for one kind."""

from __future__ import annotations

from typing import Any

from consumer.core.packed_token import code_of
from consumer.core.times import TickReader
from consumer.events import OrderedBy, OrderValue
from consumer.fields import field

_DIGITS_MAX = 18
"""What is longer may not fit into 64 bits, and then not into a snapshot either."""


class OrderRule:
    """Gives the value of the order token if the event has what the rule reads."""

    def __init__(self, by: OrderedBy, path: tuple[str, ...] = ()) -> None:
        self.by = by
        """The kind of token that it gives."""
        self.code = code_of(by)
        self.path = path
        """Where in the data the value is; empty if none is read."""

    def find(self, data: Any, ticks: int | None, event_type: str) -> OrderValue | None:
        """Give the value of the token for an event with the data, or None."""
        return self.value(field(data, *self.path), ticks, event_type)

    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:
        """What `read`, the value in the data, gives with the event's ticks and its type (case-folded)."""
        raise NotImplementedError


def usable_sequencer(value: Any) -> str | None:
    """A sequencer as it is compared, or None for a placeholder (zeros alone) and what is no text."""
    if not isinstance(value, str) or not value:
        return None
    # Hardly any ends with a zero, and one look is cheaper than to strip it.
    return value.casefold() if value[-1] != "0" or value.strip("0") else None


class _Sequencer(OrderRule):
    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:  # noqa: ARG002 - the rules' signature
        return usable_sequencer(read)


class _Number(OrderRule):
    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:  # noqa: ARG002 - the rules' signature
        if isinstance(read, str):
            plain = read.isascii() and read.isdecimal() and len(read) <= _DIGITS_MAX
            return int(read) if plain else read.casefold() or None
        if isinstance(read, int) and not isinstance(read, bool):
            return read
        return None


class _Version(_Number):
    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:
        found = super().value(read, ticks, event_type)
        return None if isinstance(found, str) else found


class _SyncToken(OrderRule):
    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:  # noqa: ARG002 - the rules' signature
        if not isinstance(read, str):
            return None
        _, found, number = read.rpartition("sn=")
        if found and number.isascii() and number.isdecimal() and len(number) <= _DIGITS_MAX:
            return int(number)
        return None


_TERMINAL = frozenset({"completed", "finished", "failed", "canceled", "cancelled"})


class _RunStatus(OrderRule):
    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:
        if ticks is None:
            return None
        ended = event_type.endswith(".runcompleted") or (
            isinstance(read, str) and read.casefold() in _TERMINAL
        )
        return (1 if ended else 0), ticks


class _WindowEnd(OrderRule):
    def __init__(self, by: OrderedBy, path: tuple[str, ...]) -> None:
        super().__init__(by, path)
        self._times = TickReader()

    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:  # noqa: ARG002 - the rules' signature
        end = self._times.ticks(read) if isinstance(read, str) else None
        return None if end is None or ticks is None else (end, ticks)


class _EventTime(OrderRule):
    def value(self, read: Any, ticks: int | None, event_type: str) -> OrderValue | None:  # noqa: ARG002 - the rules' signature
        return ticks


def by_sequencer(*path: str) -> OrderRule:
    """Opaque text that orders by string comparison."""
    return _Sequencer(OrderedBy.SEQUENCER, path)


def by_number(by: OrderedBy, *path: str) -> OrderRule:
    """A number, or the text of one; other text (IoT Hub writes long hexadecimal) compares as text."""
    return _Number(by, path)


def by_version(*path: str) -> OrderRule:
    """A whole number, or the text of one; any other version has no order."""
    return _Version(OrderedBy.VERSION, path)


def by_sync_token(*path: str) -> OrderRule:
    """App Configuration's ``id=value;sn=NUMBER``."""
    return _SyncToken(OrderedBy.SYNC_TOKEN, path)


by_run_status = _RunStatus(OrderedBy.STATUS, ("runStatus",))
"""A run that has ended is later than one that has not, whatever the clocks say."""
by_window_end = _WindowEnd(OrderedBy.WINDOW_END, ("endTime",))
"""The end of the data window that was looked at, then the event time."""
by_event_time = _EventTime(OrderedBy.EVENT_TIME)
"""The producer's clock."""
