"""What can be configured: frozen values, one small class for each concern.

The docstring under a field is its description in the JSON Schema (``inturn config schema``); that of a
limit says what happens at the limit. Files are read by `consumer.config_file`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from consumer.connection_settings import BlobConnection, EventHubConnection
from consumer.expectation_settings import ExpectationSettings, expectation_findings
from consumer.kafka_settings import KafkaSource
from consumer.processor_settings import ProcessorSettings, Text, TypePattern, group_findings
from consumer.setting_rules import WORKERS_MAX, Concern, Finding, GapPolicy, Start, refuse, unshared

DataPath = Annotated[str, Field(max_length=256, pattern=r"^data(\.[^.\s]+)+$")]


class EventHubSource(EventHubConnection, GapPolicy):
    """Read an event hub. Give exactly one of connection_string, connection_string_file and namespace."""

    type: Literal["eventhub"]
    consumer_group: Text = "$Default"
    """The consumer group. Give inturn its own: two readers of one group take each other's partitions."""
    start: Start = "earliest"
    """Where to begin in a partition of which nothing is stored yet: earliest, latest or an RFC 3339 time."""
    prefetch: int = Field(default=1_000, ge=1, le=1_000)
    """Messages the client fetches ahead, per partition; at the limit they stay in the hub."""
    batch_max: int = Field(default=300, ge=1, le=10_000)
    """Messages taken at once; more come with the next batch."""
    load_balancing_interval_s: float = Field(default=3.0, ge=1, le=300)
    """How fast partitions change hands, in seconds.

    A third of it, or a sixth beside other replicas: between two looks at who owns what, a listing each.
    Twice: between two renewals, a write for each partition. Six times: until the partitions of a replica
    that was killed go to others.
    """
    idle_timeout_s: float = Field(default=10.0, ge=10, le=600)
    """Seconds without a sign of life after which a connection is given up and opened anew.

    The service refuses connections that ask for signs of life too often; ten seconds it is known to take.
    """
    stall_after_s: float = Field(default=30.0, ge=5, le=3_600)
    """Seconds without an event, though the hub has newer ones, after which a partition is opened anew."""
    connect_timeout_s: float = Field(default=60.0, ge=1, le=600)
    """Seconds in which the first connection must succeed; then inturn ends with exit code 75."""
    receive: Literal["auto", "fast", "sdk"] = "auto"
    """fast: inturn's own receive loop, at a tenth of the cost, or not at all. sdk: the Azure client's own.

    auto: fast where the installed client is the one it was written for, and the connection is no websocket.
    """
    transport: Literal["amqp", "websocket"] = "amqp"
    """amqp uses port 5671; websocket uses port 443, for networks that let nothing else out."""
    allow_plaintext_hosts: tuple[Text, ...] = ()
    """Hosts that may be spoken to without TLS, such as a local hub. Every other host needs TLS."""


class FileSource(GapPolicy):
    """Read files of JSON lines, or dead-letter blobs of Event Grid; inturn ends when they are read."""

    type: Literal["file"]
    paths: tuple[Path, ...] = Field(min_length=1)
    """Files, or patterns with *; relative to the configuration file's folder."""


class SqliteStore(Concern):
    """A file on this machine: for one machine."""

    type: Literal["sqlite"]
    path: Path = Path("inturn-state/state.sqlite")
    """The database file, made if it isn't there; relative to the configuration file's folder."""


class BlobStore(BlobConnection):
    """An Azure Storage container: for any number of replicas.

    Give exactly one of connection_string, connection_string_file and account_url.
    """

    type: Literal["blob"]


class EventHubLetters(EventHubConnection):
    """An event hub of their own, for others to read; a letter stays until the hub's retention ends.

    Give exactly one of connection_string, connection_string_file and namespace.
    """

    type: Literal["eventhub"]
    consumer_group: Text = "$Default"
    """The consumer group that `inturn dlq` reads with."""
    transport: Literal["amqp", "websocket"] = "amqp"
    """amqp uses port 5671; websocket uses port 443, for networks that let nothing else out."""
    allow_plaintext_hosts: tuple[Text, ...] = ()
    """Hosts that may be spoken to without TLS, such as a local hub. Every other host needs TLS."""


class MemoryStore(Concern):
    """Nothing outlives the process: for tests and a first try."""

    type: Literal["memory"]


class Checkpointing(Concern):
    """How often state is stored."""

    checkpoint_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    """Seconds between two writes of a partition's checkpoint, if it moved. A crash repeats the rest."""
    fence_after_s: float | None = Field(default=None, ge=2, le=300)
    """Seconds without an answer from the store after which nothing new is begun on a partition.

    The default is 15, or less if the partitions of a silent replica go to others sooner.
    """


class SqliteState(SqliteStore, Checkpointing):
    """State in a file on this machine: for one machine."""


class BlobState(BlobStore, Checkpointing):
    """State in an Azure Storage container: for any number of replicas.

    Give exactly one of connection_string, connection_string_file and account_url.
    """


class MemoryState(MemoryStore, Checkpointing):
    """State that ends with the process: the next one starts at `source.start` again."""


Source = Annotated[EventHubSource | KafkaSource | FileSource, Field(discriminator="type")]
State = Annotated[SqliteState | BlobState | MemoryState, Field(discriminator="type")]
DeadLetters = Annotated[SqliteStore | BlobStore | EventHubLetters | MemoryStore, Field(discriminator="type")]


def _beside_the_state(earlier: dict[str, Any]) -> SqliteStore | BlobStore | MemoryStore:
    match earlier["state"]:
        case SqliteStore() as state:
            return SqliteStore(type="sqlite", path=state.path)
        case BlobStore() as state:
            kept = state.model_fields_set - Checkpointing.model_fields.keys()
            return BlobStore(**{name: getattr(state, name) for name in kept})
        case _:
            return MemoryStore(type="memory")


def _kind_of_topics(value: object) -> str | None:
    return {"any": "any"}.get(value) if isinstance(value, str) else "list"


class AdmissionSettings(Concern):
    """Which events are ours; the others are counted and ignored."""

    topics: Annotated[
        Annotated[Literal["any"], Tag("any")] | Annotated[tuple[Text, ...], Field(min_length=1), Tag("list")],
        Discriminator(_kind_of_topics, "topics", "should be any, or a list of resource ids"),
    ]
    """The resource ids whose events are taken, or `any`. There is no default: it has to be written down."""
    types: tuple[TypePattern, ...] | None = Field(default=None, min_length=1)
    """The event types that are taken. The default is whatever the processors ask for."""


class SequenceSettings(Concern):
    """How the events of an object are brought in turn."""

    window_s: float = Field(default=5.0, ge=0, le=3_600)
    """Seconds of log time for which an event waits for earlier ones; what comes later still is stale."""
    idle_margin_s: float = Field(default=5.0, ge=0, le=3_600)
    """Seconds that log time stays behind the local clock on a partition to which nothing comes."""
    held_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Events held per partition; beyond it the oldest goes on early, is counted, and may be overtaken."""
    held_bytes_max_mb: float = Field(default=64.0, ge=1, le=4_096)
    """Megabytes held per partition; beyond it the oldest goes on early, is counted, and may be overtaken."""
    span_max: int = Field(default=50_000, ge=1, le=10_000_000)
    """Events a held one may lie behind the newest; beyond it the oldest goes on early, and is counted."""


class DedupeSettings(Concern):
    """What is remembered of events that are done."""

    window_h: float = Field(default=25.0, ge=0, le=168)
    """Hours of log time for which an identity is remembered. Event Grid delivers again for 24 hours."""
    identities_max: int = Field(default=200_000, ge=1, le=10_000_000)
    """Identities remembered, per partition; at the limit the oldest is forgotten early, and counted."""
    objects_max: int = Field(default=200_000, ge=1, le=10_000_000)
    """Objects whose last token is remembered, per partition; at the limit the oldest is forgotten."""


class Limits(Concern):
    """What may be going on at once."""

    in_flight_max: int = Field(default=5_000, ge=1, le=1_000_000)
    """Events with processors or becoming dead letters, per partition; at the limit reading pauses."""
    internal_max: int = Field(default=1_000, ge=1, le=100_000)
    """Events that processors and rules emitted, not done, per partition; at the limit reading pauses.

    They are stored with every checkpoint. What is handled at that moment may still add to them.
    """


class OrderRule(Concern):
    """One thing that events are ordered by."""

    by: Literal["sequencer", "sequence_number", "sync_token", "version", "event_time"]
    """How the value is read and compared."""
    path: DataPath | None = None
    """Where the value is, such as data.sequenceNumber. Event time has no path; every other rule needs one."""

    @model_validator(mode="after")
    def _check_path(self) -> Self:
        if self.by == "event_time" and self.path is not None:
            refuse(Finding(("path",), "event_time has no path: it is the envelope's time"))
        if self.by != "event_time" and self.path is None:
            refuse(Finding((), f"{self.by} needs a path, such as data.{self.by}"))
        return self


class CatalogueRule(Concern):
    """How the events of some types are ordered; goes before the built-in catalogue."""

    types: tuple[TypePattern, ...] = Field(min_length=1)
    """The event types the rule is for."""
    object: str = Field(default="subject", max_length=256, pattern=r"^(subject|data(\.[^.\s]+)+)$")
    """What names the object within its topic: subject, or a path such as data.orderId."""
    order: tuple[OrderRule, ...] = Field(default=(OrderRule(by="event_time"),), min_length=1)
    """What orders an object's events: the first rule that finds something in the event."""


class AdminSettings(Concern):
    """The read-only HTTP server with health, metrics and the status page."""

    enabled: bool = True
    """Whether there is one."""
    host: Text = "127.0.0.1"
    """The address to listen on. It asks for no password: anything but loopback is for a network you trust."""
    port: int = Field(default=8_080, ge=0, le=65_535)
    """The port to listen on; 0 takes any that is free, and the log says which."""


class LoggingSettings(Concern):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""
    format: Literal["auto", "console", "json"] = "auto"
    """console: for people. json: a line for each entry. auto: console on a terminal, else json."""


class DrainSettings(Concern):
    """How inturn stops."""

    timeout_s: float = Field(default=20.0, ge=0, le=3_600)
    """Seconds to finish what is in flight; what is not finished then is done again by the next owner."""


class Settings(Concern):
    """The whole configuration."""

    source: Source
    """Where events come from."""
    state: State = SqliteState(type="sqlite")
    """Where checkpoints and the state that belongs to them are kept."""
    dead_letters: DeadLetters = Field(default_factory=_beside_the_state)
    """Where dead letters are kept; the default is beside the state."""
    admission: AdmissionSettings
    """Which events are ours."""
    sequence: SequenceSettings = SequenceSettings()
    """How events are brought in turn."""
    dedupe: DedupeSettings = DedupeSettings()
    """How duplicates are known."""
    limits: Limits = Limits()
    """What may be going on at once."""
    processors: tuple[ProcessorSettings, ...] = Field(min_length=1)
    """Who is given the events."""
    expect: tuple[ExpectationSettings, ...] = ()
    """What has to come after what; where it does not come, Inturn.ExpectationMissed is emitted."""
    catalogue: tuple[CatalogueRule, ...] = ()
    """How events of your own types are ordered."""
    admin: AdminSettings = AdminSettings()
    """The admin port."""
    logging: LoggingSettings = LoggingSettings()
    """The log."""
    workers: int = Field(default=1, ge=1, le=WORKERS_MAX)
    """Processes that share the partitions; if there are several, a supervisor restarts those that die."""
    drain: DrainSettings = DrainSettings()
    """How inturn stops."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [processor.name for processor in self.processors]
        refuse(
            *(
                Finding(
                    ("processors", index, "name"),
                    f"{name} is the name of an earlier processor; give it its own",
                )
                for index, name in enumerate(names)
                if name in names[:index]
            )
        )
        return self

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        shared = self.source.consumer_group if isinstance(self.source, EventHubSource) else None
        refuse(*group_findings(self.processors, shared))
        return self

    @model_validator(mode="after")
    def _check_expectations(self) -> Self:
        refuse(*expectation_findings(self.expect, self.admission.types))
        return self

    @model_validator(mode="after")
    def _check_fence(self) -> Self:
        told, expire_s = self.state.fence_after_s, self.ownership_expires_s
        if told is not None and expire_s is not None and told >= expire_s:
            is_kafka = isinstance(self.source, KafkaSource)
            what = "source.session_timeout_s" if is_kafka else "six times source.load_balancing_interval_s"
            refuse(
                Finding(
                    ("state", "fence_after_s"),
                    f"fence_after_s ({told:g}) must be less than {expire_s:g}, which is {what}: "
                    "by then others have taken the partitions",
                )
            )
        return self

    @model_validator(mode="after")
    def _check_letters(self) -> Self:
        letters, source = self.dead_letters, self.source
        if not isinstance(letters, EventHubLetters):
            return self
        is_source = isinstance(source, EventHubSource) and letters.is_same_hub(source)
        own = Finding(
            ("dead_letters", "hub"), "is the source's own hub: what is put aside would be read again"
        )
        refuse(
            *([own] if is_source else []),
            *(
                Finding(
                    ("processors", index, "on_failure_order"),
                    "park asks every few seconds what is in the dead letters, which an event hub cannot "
                    "answer: keep them in sqlite or blob, or continue",
                )
                for index, processor in enumerate(self.processors)
                if processor.on_failure_order == "park"
            ),
        )
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        refuse(*(Finding(("workers",), why) for why in unshared(self) if self.workers > 1))
        return self

    @property
    def ownership_expires_s(self) -> float | None:
        """Seconds after which the partitions of a silent replica go to others; None if there are none."""
        source = self.source
        if isinstance(source, KafkaSource):
            return source.session_timeout_s
        return source.load_balancing_interval_s * 6 if isinstance(source, EventHubSource) else None

    @property
    def admitted_types(self) -> tuple[str, ...] | None:
        """The types to admit: `admission.types`, else what processors and rules ask for; None: any."""
        if self.admission.types is not None:
            return None if "*" in self.admission.types else self.admission.types
        asked = [processor.hub_types for processor in self.processors]
        asked += [side.types for rule in self.expect for side in (rule.after, rule.expect)]
        wanted = tuple(dict.fromkeys(kind for types in asked for kind in types))
        return None if "*" in wanted else wanted
