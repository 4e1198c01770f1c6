"""What can be configured of forwarding: where to, in what form, and what keeps events together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from consumer.processor import Surroundings
from processors.outbound_addresses import is_loopback

_STRICT = ConfigDict(
    frozen=True,
    extra="forbid",
    allow_inf_nan=False,
    hide_input_in_errors=True,
    use_attribute_docstrings=True,
)
_WAYS = ("connection_string", "connection_string_file", "namespace")
_USERS = ("username", "password", "password_file")


class KafkaTarget(BaseModel):
    """A topic of Apache Kafka. Needs the extra `kafka`."""

    model_config = _STRICT

    bootstrap: str = Field(max_length=4_096, pattern=r"^[A-Za-z0-9.-]+:\d{1,5}(,[A-Za-z0-9.-]+:\d{1,5})*$")
    """Brokers to begin with, HOST:PORT with commas between."""
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)
    """The topic; it has to exist."""
    tls: bool = True
    """Whether the connection is encrypted. Without, whoever is on the way reads everything, passwords too."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust instead of the machine's."""
    mechanism: Literal["none", "plain", "scram-sha-256", "scram-sha-512"] = "none"
    """How we log in."""
    username: str | None = Field(default=None, min_length=1, max_length=256)
    """Who logs in."""
    password: SecretStr | None = None
    """The password, best as ${NAME_OF_A_VARIABLE}: a secret has no place in the file itself."""
    password_file: Path | None = None
    """A file that holds the password."""
    compression: Literal["none", "gzip"] = "none"
    """How events are packed on their way and in the topic."""

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        given = [name for name in _USERS if getattr(self, name) is not None]
        if self.mechanism == "none" and given:
            raise ValueError(f"{given[0]} has no effect with the mechanism none")
        passwords = [name for name in given if name != "username"]
        if self.mechanism != "none" and ("username" not in given or len(passwords) != 1):
            raise ValueError(f"{self.mechanism} needs a username, and either password or password_file")
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file has no effect without tls")
        return self


class ForwardSettings(BaseModel):
    """Where to forward to: an event hub, by one of connection_string, connection_string_file and namespace
    (with `hub`), or a topic of `kafka`.
    """  # noqa: D205 - one sentence

    model_config = _STRICT

    hub: str | None = Field(default=None, min_length=1, max_length=256)
    """The event hub's name. It must not be the one that is read."""
    connection_string: SecretStr | None = None
    """The connection string, best as ${NAME_OF_A_VARIABLE}: a secret has no place in the file itself."""
    connection_string_file: Path | None = None
    """A file that holds the connection string; read again when it changes."""
    namespace: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]+(:\d{1,5})?$", max_length=256)
    """The namespace's full name, NAME.servicebus.windows.net, to authenticate with `credential`."""
    credential: Literal["default", "managed_identity", "workload_identity"] = "default"
    """Which identity to use where no connection string is given; it needs the role Data Sender on the hub."""
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    """The client id of a user-assigned identity; the default is the machine's own."""
    transport: Literal["amqp", "websocket"] = "amqp"
    """amqp uses port 5671; websocket uses port 443, for networks that let nothing else out."""
    allow_plaintext_hosts: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = ()
    """Hosts that may be spoken to without TLS, such as a local hub. Every other host needs TLS."""
    connections: int = Field(default=4, ge=1, le=64)
    """Connections to the hub; each sends one batch at a time. Events of one partition key share one."""
    kafka: KafkaTarget | None = None
    """A topic of Kafka to forward to, instead of a hub."""
    content: Literal["original", "cloudevents"] = "original"
    """original: the body as it came. cloudevents: one CloudEvent as JSON, whatever it came as."""
    partition_key: str = Field(
        default="object", pattern=r"^(object|none|keep|subject|data(\.[^.\s]+)+)$", max_length=256
    )
    """What keeps events together on one partition, in their order.

    object: what inturn takes for the object, such as a model without its version. subject, or a path such as
    data.modelName: that text; where it is missing, the object. keep: the key that the event came with.
    none: nothing, they are spread, in no order.
    """
    timeout_s: float = Field(default=20.0, gt=0, le=300)
    """Seconds in which a batch has to be taken. The processor's `deadline_s` ends all of an attempt."""

    @property
    def place(self) -> tuple[str, str]:
        """The host, and the hub or topic, in lower case; of several brokers the first."""
        return self.places[0]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every host that leads there, each with the hub or topic, in lower case."""
        if self.kafka is not None:
            return [(host_of(each), self.kafka.topic.casefold()) for each in self.kafka.bootstrap.split(",")]
        return [(host_of(self._namespace()), (self.hub or "").casefold())]

    def misfits(self, around: Surroundings) -> Iterator[tuple[str, str]]:
        """See `consumer.processor.Surroundings`: events must not go round in a circle."""
        sources = {(host_of(host), name.casefold()) for host, name in around.sources}
        if not sources.isdisjoint(self.places):
            at = "hub" if self.kafka is None else "kafka"
            yield at, "is where the events come from: each would be read and forwarded again, without end"

    def _namespace(self) -> str:
        secret = self.connection_string
        if self.connection_string_file is not None:
            try:
                secret = SecretStr(self.connection_string_file.read_text("utf-8-sig").strip())
            except (OSError, UnicodeDecodeError):
                return ""  # said when it is opened
        if secret is None:
            return self.namespace or ""
        return urlsplit(fields_of(secret.get_secret_value()).get("endpoint", "")).netloc

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        for message in self._findings():
            raise ValueError(message)
        return self

    def _findings(self) -> Iterator[str]:
        ways = [name for name in _WAYS if getattr(self, name) is not None]
        if self.kafka is not None:
            for name in ("hub", *ways):
                if getattr(self, name) is not None:
                    yield f"{name} has no effect: events are forwarded to kafka"
            return
        if self.hub is None:
            yield "no target: give a hub, or kafka"
        if len(ways) != 1:
            yield f"give exactly one of {', '.join(_WAYS)}"
        if self.connection_string is not None:
            yield from connection_string_flaws(self.connection_string.get_secret_value(), self)


def connection_string_flaws(text: str, settings: ForwardSettings) -> Iterator[str]:
    """What is wrong with a connection string, without a word of what it says."""
    fields = fields_of(text)
    host = urlsplit(fields.get("endpoint", "")).hostname
    if not host or not ({"sharedaccesskey", "sharedaccesssignature"} & fields.keys()):
        yield "connection_string: is not a connection string: it has no Endpoint, or no key"
        return
    path, hub = fields.get("entitypath", ""), settings.hub or ""
    if path and path.casefold() != hub.casefold():
        yield "connection_string: is for another hub: its EntityPath is not the hub that is configured"
    is_plain = fields.get("usedevelopmentemulator", "false").casefold() == "true"
    if is_plain and not (is_loopback(host) or host in settings.allow_plaintext_hosts):
        yield (
            "connection_string: UseDevelopmentEmulator=true means no TLS, and the host is not this machine; "
            "list it under allow_plaintext_hosts if it is an emulator"
        )


def fields_of(connection_string: str) -> dict[str, str]:
    """The fields of a connection string by their names in lower case."""
    parts = (part.partition("=") for part in connection_string.split(";"))
    return {name.strip().casefold(): value.strip() for name, _, value in parts}


def host_of(netloc: str) -> str:
    """The host in lower case; with its port only where one machine may be many: this one."""
    try:
        host = urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""
    return netloc.casefold() if is_loopback(host) else host.casefold()
