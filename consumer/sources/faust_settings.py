"""What the Faust source has to be told, free of how it is configured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

Mechanism = Literal["none", "plain", "scram-sha-256", "scram-sha-512", "connection_string", "identity"]


@dataclass(frozen=True, slots=True)
class FaustSecurity:
    """How brokers are trusted, and how they know us."""

    mechanism: Mechanism = "none"
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = None
    secret: str | None = None
    """The password, or the connection string of Event Hubs."""
    credential: AsyncTokenCredential | None = None
    """For `identity`."""

    @property
    def is_event_hubs(self) -> bool:
        """Whether the brokers are those of Event Hubs, which puts AMQP's values into headers."""
        return self.mechanism in ("connection_string", "identity")


@dataclass(frozen=True, slots=True)
class FaustSettings:
    """A topic, how it is placed, and the limits of reading it."""

    bootstrap: str
    topic: str
    group: str
    rekey_topic: str | None = None
    """None: all events of an object are on one partition of `topic`."""
    start: Literal["earliest", "latest"] | datetime = "earliest"
    """Where to begin in a partition of `topic` of which nothing is stored or committed."""
    security: FaustSecurity = FaustSecurity()
    batch_max: int = 500
    buffered_max: int = 5_000
    """Messages of a partition that wait in memory; at the limit no more of it are fetched."""
    session_timeout_s: float = 30.0
    commit_interval_s: float = 1.0
    connect_timeout_s: float = 60.0
    produce_timeout_s: float = 120.0
    stall_after_s: float = 120.0
    idempotent: bool = True
    compression: Literal["none", "gzip"] = "none"
    margin_s: float = 5.0
    """How far log time stays behind the local clock on a partition of `topic` to which nothing comes."""

    @property
    def read_topic(self) -> str:
        """The topic whose partitions the intake is given."""
        return self.rekey_topic or self.topic

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that is read."""
        return (self.topic,) if self.rekey_topic is None else (self.topic, self.rekey_topic)
