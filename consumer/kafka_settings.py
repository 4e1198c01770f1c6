"""What can be configured of a Kafka source: where it is, whom it trusts, and how its events are placed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from consumer.connection_settings import read_secret
from consumer.setting_rules import Concern, Finding, GapPolicy, Start, refuse

_USERS = ("plain", "scram-sha-256", "scram-sha-512")
_MECHANISMS_OF: dict[str, tuple[str, ...]] = {
    "username": _USERS,
    "password": _USERS,
    "password_file": _USERS,
    "connection_string": ("connection_string",),
    "connection_string_file": ("connection_string",),
    "client_id": ("identity",),
}
"""The mechanisms with which a field has an effect."""


class KafkaSecurity(Concern):
    """How brokers are trusted, and how they know us."""

    mechanism: Literal["none", "plain", "scram-sha-256", "scram-sha-512", "connection_string", "identity"] = (
        "none"
    )
    """connection_string and identity are for Event Hubs: a shared key, or a Microsoft Entra identity."""
    tls: bool = True
    """Whether the connection is encrypted. Without, whoever is on the way reads everything, passwords too."""
    ca_file: Path | None = None
    """The certificates of the authorities that are trusted; the default is the machine's own."""
    username: str | None = Field(default=None, min_length=1, max_length=256)
    """For plain and scram."""
    password: SecretStr | None = None
    """For plain and scram, best as ${NAME_OF_A_VARIABLE}: a secret has no place in the file itself."""
    password_file: Path | None = None
    """A file that holds the password; relative to the configuration file's folder."""
    connection_string: SecretStr | None = None
    """The connection string of the Event Hubs namespace, best as ${NAME_OF_A_VARIABLE}."""
    connection_string_file: Path | None = None
    """A file that holds the connection string; relative to the configuration file's folder."""
    credential: Literal["default", "managed_identity", "workload_identity"] = "default"
    """Which identity to use with identity; default tries what the machine has."""
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    """The client id of a user-assigned identity; the default is the machine's own."""

    @property
    def is_event_hubs(self) -> bool:
        """Whether the brokers are those of Event Hubs."""
        return self.mechanism in ("connection_string", "identity")

    def secret(self) -> SecretStr | None:
        """The password or the connection string. Raises `ConfigurationError` if its file cannot be read."""
        file = self.password_file or self.connection_string_file
        return read_secret(file) if file is not None else self.password or self.connection_string

    @model_validator(mode="after")
    def _check_mechanism(self) -> Self:
        refuse(*self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        for name, mechanisms in _MECHANISMS_OF.items():
            if getattr(self, name) is not None and self.mechanism not in mechanisms:
                yield Finding((name,), f"has no effect with the mechanism {self.mechanism}")
        if self.mechanism in _USERS:
            yield from self._one_of("password", "password_file")
            if self.username is None:
                yield Finding(("username",), f"{self.mechanism} needs a username")
        if self.mechanism == "connection_string":
            yield from self._one_of("connection_string", "connection_string_file")
        if not self.tls and self.is_event_hubs:
            yield Finding(("tls",), "Event Hubs takes encrypted connections only")

    def _one_of(self, *names: str) -> Iterator[Finding]:
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            yield Finding((), f"{self.mechanism} needs one of {' and '.join(names)}")


class KafkaSource(GapPolicy):
    """Read a Kafka topic, or an event hub by its Kafka endpoint. Needs the extra `faust`."""

    type: Literal["kafka"]
    bootstrap: str = Field(max_length=4_096, pattern=r"^[A-Za-z0-9.-]+:\d{1,5}(,[A-Za-z0-9.-]+:\d{1,5})*$")
    """Brokers, HOST:PORT with commas between; for Event Hubs NAME.servicebus.windows.net:9093."""
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)
    """The topic that events are read from."""
    group: str = Field(default="inturn", pattern=r"^[A-Za-z0-9._-]+$", max_length=249)
    """The consumer group; replicas of one inturn share it, and nobody else has it."""
    placement: Literal["keyed", "spread"]
    """keyed: all events of an object are on one partition of the topic. spread: they may be on any.

    Spread events are sent on to rekey_topic, keyed by their object, and read from there.
    """
    rekey_topic: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$", max_length=249)
    """Where spread events go. It has to exist; its number of partitions must stay while it holds any."""
    start: Start = "earliest"
    """Where to begin in a partition of the topic of which nothing is stored yet: earliest, latest or a time.

    A time is an RFC 3339 one, and begins with the first message that was enqueued then or later.
    """
    security: KafkaSecurity = KafkaSecurity()
    """How brokers are trusted, and how they know us."""
    batch_max: int = Field(default=500, ge=1, le=10_000)
    """Messages taken at once from a partition; more come with the next batch."""
    buffered_max: int = Field(default=5_000, ge=1, le=1_000_000)
    """Messages that wait in memory, per partition; at the limit no more of it are fetched."""
    session_timeout_s: float = Field(default=30.0, ge=6, le=300)
    """Seconds until the partitions of a replica that was killed go to others."""
    commit_interval_s: float = Field(default=1.0, ge=0.25, le=60)
    """Seconds between two commits to the group, if there is news; Event Hubs takes 4 a second."""
    connect_timeout_s: float = Field(default=60.0, ge=1, le=600)
    """Seconds in which the brokers must answer at first; then inturn ends with exit code 75."""
    produce_timeout_s: float = Field(default=120.0, ge=20, le=1_200)
    """Seconds in which brokers must take an event for rekey_topic; then inturn ends with exit code 75."""
    stall_after_s: float = Field(default=120.0, ge=10, le=3_600)
    """Seconds without an event, though the topic has newer ones; then inturn ends with exit code 75."""
    idempotent: bool = True
    """Whether brokers are to drop what is sent to rekey_topic twice; without, inturn drops it later."""
    compression: Literal["none", "gzip"] = "none"
    """How events are sent to rekey_topic. Event Hubs takes gzip in the premium and dedicated tiers."""

    @model_validator(mode="after")
    def _check_placement(self) -> Self:
        if self.placement == "spread" and self.rekey_topic is None:
            refuse(Finding(("rekey_topic",), "spread events need a topic to be sent on to, by their object"))
        if self.placement == "keyed" and self.rekey_topic is not None:
            refuse(Finding(("rekey_topic",), "has no effect: keyed events are read where they are"))
        if self.rekey_topic == self.topic:
            refuse(Finding(("rekey_topic",), "has to be another topic than the one that is read"))
        return self

    @property
    def read_topic(self) -> str:
        """The topic whose partitions have pipelines."""
        return self.rekey_topic or self.topic
