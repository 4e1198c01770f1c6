"""One event hub: its partitions, who reads them, and how much of them is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from consumer.hub.log import PartitionLog
from consumer.hub.messages import Incoming
from consumer.hub.performatives import AmqpError, not_found
from consumer.hub.placement import partition_of
from consumer.hub.settings import HubSettings

_log = structlog.get_logger("inturn.hub")

STOLEN = "amqp:link:stolen"


class Placed(NamedTuple):
    """Where the events of one sending are: side by side."""

    partition: str
    first_sequence_number: int


class Receiver(Protocol):
    """What the hub must know of a receiver to decide who may read."""

    epoch: int | None
    """The owner level; None for a receiver without one."""

    def end(self, error: AmqpError) -> None:
        """Detach it."""


class EventHub:
    """An event hub with its partitions."""

    def __init__(
        self, settings: HubSettings, logs: Sequence[PartitionLog], created_at_ms: int, receivers_max: int
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.logs: Mapping[str, PartitionLog] = {str(index): log for index, log in enumerate(logs)}
        self.created_at_ms = created_at_ms
        self.groups = {group.casefold() for group in settings.consumer_groups}
        self._receivers_max = receivers_max
        self._receivers: dict[tuple[str, str], list[Receiver]] = {}
        self._next_partition = 0
        self._trimming_told = False

    def log_of(self, partition: str) -> PartitionLog:
        """The log of a partition. Raises `AmqpError` if there is none."""
        log = self.logs.get(partition)
        if log is None:
            raise not_found(f"{self.name}/Partitions/{partition}")
        return log

    def append(
        self, events: list[Incoming], partition: str | None = None, enqueued_time_ms: int | None = None
    ) -> Placed | None:
        """Store events of one sending: on `partition`, else by the first one's key, else in rotation.

        Gives where they are, None for no events. Raises `AmqpError` if there is no such partition,
        `OSError` if they cannot be written down.
        """
        if not events:
            return None
        place = self._place(events[0].partition_key) if partition is None else partition
        stored = self.log_of(place).append(events, enqueued_time_ms)
        self.retain()
        return Placed(place, stored[0].sequence_number)

    def _place(self, key: str | None) -> str:
        if key is not None:
            return str(partition_of(key, len(self.logs)))
        chosen = self._next_partition
        self._next_partition = (chosen + 1) % len(self.logs)
        return str(chosen)

    @property
    def bytes(self) -> int:
        """Memory taken by all events that are kept."""
        return sum([log.bytes for log in self.logs.values()])

    @property
    def trimmed(self) -> int:
        """Events that retention took, since the start."""
        return sum([log.trimmed for log in self.logs.values()])

    def retain(self) -> None:
        """Trim the oldest events, of whichever partition, until the hub is within its limit."""
        excess = self.bytes - self.settings.retention_bytes_max
        while excess > 0:
            ages = [
                (log.oldest_enqueued_time_ms or 0, partition)
                for partition, log in self.logs.items()
                if log.end - log.begin > 1
            ]
            if not ages:
                return
            ages.sort()
            next_oldest_ms = ages[1][0] if len(ages) > 1 else 2**63
            excess -= self.logs[ages[0][1]].trim_oldest(excess, next_oldest_ms)
            if not self._trimming_told:
                self._trimming_told = True
                _log.warning(
                    "The hub is full and trims its oldest events from now on.",
                    hub=self.name,
                    retention_bytes_max=self.settings.retention_bytes_max,
                )

    def admit(self, receiver: Receiver, group: str, partition: str) -> None:
        """Let a receiver in, and those out that it ousts. Raises `AmqpError` if it may not read.

        The higher owner level wins, the later one among equals; while one with a level reads, none
        without a level may, and a group's receivers without a level are limited in number.
        """
        if group.casefold() not in self.groups:
            raise not_found(f"{self.name}/ConsumerGroups/{group}")
        self.log_of(partition)
        present = self._receivers.setdefault((group.casefold(), partition), [])
        highest = max((other.epoch for other in present if other.epoch is not None), default=None)
        if highest is not None and (receiver.epoch is None or receiver.epoch < highest):
            raise AmqpError(STOLEN, f"A receiver with the higher epoch {highest} is connected.")
        if receiver.epoch is None and len(present) >= self._receivers_max:
            raise AmqpError(
                "amqp:resource-limit-exceeded",
                f"Partition {partition} has {self._receivers_max} receivers of group {group!r} already.",
            )
        ousted = list(present) if receiver.epoch is not None else []
        for other in ousted:
            other.end(AmqpError(STOLEN, f"A receiver with epoch {receiver.epoch} was created."))
        present.append(receiver)

    def leave(self, receiver: Receiver, group: str, partition: str) -> None:
        """Forget a receiver that is gone; doing so twice changes nothing."""
        present = self._receivers.get((group.casefold(), partition), [])
        if receiver in present:
            present.remove(receiver)
