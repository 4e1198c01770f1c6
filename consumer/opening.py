"""Open what the settings name: sources, stores, credentials. SDKs are imported only where they are used."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol

from consumer import settings as configured
from consumer.errors import ConfigurationError
from consumer.events import PartitionId, RawBatch
from consumer.kafka_settings import KafkaSource
from consumer.runtime.engine import Reader
from consumer.sources import Source
from consumer.sources.stretch import Log
from consumer.stores import DeadLetterStore, InspectableStore
from consumer.succession import ALONE, Succession

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from prometheus_client.registry import Collector

    from consumer.sources.eventhub import EventHubSource
    from consumer.sources.eventhub_settings import EventHubSettings
    from consumer.sources.faust_settings import FaustSettings
    from consumer.stores.blob_container import BlobContainer
    from consumer.stores.eventhub_dead_letters import EventHubDeadLetters


class Keying(NamedTuple):
    """What a source needs that finds out itself to which object an event belongs."""

    find: Callable[[RawBatch], list[list[tuple[bytes, bytes]]]]
    """For every message its events: the object's key, and the event's original bytes."""
    margin_s: float
    """How far log time stays behind the local clock where nothing comes."""
    put_aside: Callable[[PartitionId, RawBatch, int, int, str], Awaitable[bool]] | None = None
    """Puts aside what is too large, given its row, its element and why; None: nothing is sent on."""


class Identity(Protocol):
    """Which identity to use."""

    @property
    def credential(self) -> str:
        """default, managed_identity or workload_identity."""

    @property
    def client_id(self) -> str | None:
        """Of a user-assigned identity."""


class Origin(NamedTuple):
    """Where events come from, by the names under which stores file what belongs to it."""

    namespace: str
    hub: str
    group: str
    description: str
    """For a person; no secret in it."""
    reader: Reader = Reader()
    collectors: Sequence[Collector] = ()
    """What the source shows Prometheus itself."""

    def partition(self, partition: str) -> PartitionId:
        """The full name of a partition."""
        return PartitionId(self.namespace, self.hub, self.group, partition)


@asynccontextmanager
async def credential_for(connection: Identity) -> AsyncIterator[AsyncTokenCredential]:
    """The identity that a connection is to use; closed when the block ends."""
    from azure.identity import aio  # noqa: PLC0415 - costs 150 ms, and most configurations do without

    credential: aio.ManagedIdentityCredential | aio.WorkloadIdentityCredential | aio.DefaultAzureCredential
    match connection.credential:
        case "managed_identity":
            credential = aio.ManagedIdentityCredential(client_id=connection.client_id)
        case "workload_identity":
            credential = aio.WorkloadIdentityCredential(client_id=connection.client_id)
        case _:
            credential = aio.DefaultAzureCredential(managed_identity_client_id=connection.client_id)
    async with credential:
        yield credential


@asynccontextmanager
async def open_checkpoints(state: configured.State) -> AsyncIterator[InspectableStore]:
    """The checkpoint store. Raises `ConfigurationError`."""
    async with AsyncExitStack() as stack:
        store: InspectableStore
        if isinstance(state, configured.SqliteStore):
            from consumer.stores.sqlite import SqliteStore  # noqa: PLC0415

            store = SqliteStore(path=state.path)
        elif isinstance(state, configured.BlobStore):
            from consumer.stores.blob import BlobStore  # noqa: PLC0415

            store = BlobStore(await _container(state, stack))
        else:
            from consumer.stores.memory import MemoryStore  # noqa: PLC0415

            store = MemoryStore()
        stack.push_async_callback(store.close)
        yield store


@asynccontextmanager
async def open_dead_letters(place: configured.DeadLetters) -> AsyncIterator[DeadLetterStore]:
    """The dead-letter store. Raises `ConfigurationError`."""
    async with AsyncExitStack() as stack:
        store: DeadLetterStore
        if isinstance(place, configured.SqliteStore):
            from consumer.stores.sqlite_dead_letters import SqliteDeadLetters  # noqa: PLC0415

            store = SqliteDeadLetters(path=place.path)
        elif isinstance(place, configured.BlobStore):
            from consumer.stores.blob_dead_letters import BlobDeadLetters  # noqa: PLC0415

            store = BlobDeadLetters(await _container(place, stack))
        elif isinstance(place, configured.EventHubLetters):
            store = await _letters_in_a_hub(place, stack)
        else:
            from consumer.stores.memory import MemoryDeadLetters  # noqa: PLC0415

            store = MemoryDeadLetters()
        stack.push_async_callback(store.close)
        yield store


async def _letters_in_a_hub(place: configured.EventHubLetters, stack: AsyncExitStack) -> EventHubDeadLetters:
    from consumer.sources.eventhub_log import HubLog  # noqa: PLC0415
    from consumer.sources.eventhub_sending import HubSender  # noqa: PLC0415
    from consumer.sources.eventhub_settings import EventHubSettings, address_of  # noqa: PLC0415
    from consumer.stores.eventhub_dead_letters import EventHubDeadLetters  # noqa: PLC0415

    secret = place.secret()
    told = EventHubSettings(
        connection_string=None if secret is None else secret.get_secret_value(),
        namespace=place.namespace,
        credential=None if secret is not None else await stack.enter_async_context(credential_for(place)),
        hub=place.hub,
        consumer_group=place.consumer_group,
        transport=place.transport,
        allow_plaintext_hosts=place.allow_plaintext_hosts,
    )
    address = address_of(told)
    return EventHubDeadLetters(HubLog(told, address), HubSender(told, address))


async def _container(place: configured.BlobStore, stack: AsyncExitStack) -> BlobContainer:
    from consumer.stores.blob_container import BlobContainer  # noqa: PLC0415

    secret = place.secret()
    if secret is not None:
        return BlobContainer(
            place.container,
            connection_string=secret.get_secret_value(),
            create_container=place.create_container,
        )
    return BlobContainer(
        place.container,
        account_url=place.account_url,
        credential=await stack.enter_async_context(credential_for(place)),
        create_container=place.create_container,
    )


@asynccontextmanager
async def open_source(
    source: configured.Source,
    checkpoints: InspectableStore,
    keying: Keying | None = None,
    succession: Succession = ALONE,
) -> AsyncIterator[tuple[Source, Origin]]:
    """The source and where it reads; `keying` is for one that is spread. Raises `ConfigurationError`."""
    if isinstance(source, configured.FileSource):
        from consumer.sources.file import FileSource  # noqa: PLC0415

        yield FileSource(*source.paths), _origin_of_files(source)
        return
    if isinstance(source, KafkaSource):
        async with _open_kafka(source, keying) as (topics, origin):
            yield topics, origin
        return
    async with open_eventhub(source, checkpoints, succession) as (reader, origin):
        yield reader, origin


@asynccontextmanager
async def open_eventhub(
    source: configured.EventHubSource, checkpoints: InspectableStore, succession: Succession = ALONE
) -> AsyncIterator[tuple[EventHubSource, Origin]]:
    """The Event Hubs source and where it reads. Raises `ConfigurationError`."""
    from azure.eventhub.aio import CheckpointStore as SdkCheckpointStore  # noqa: PLC0415

    from consumer.sources.eventhub import EventHubSource  # noqa: PLC0415
    from consumer.sources.eventhub_settings import address_of  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        told = replace(await _eventhub_settings(source, stack), succession=succession)
        address = address_of(told)
        # Each of our checkpoint stores is one of the SDK's as well, with which it shares partitions out.
        assert isinstance(checkpoints, SdkCheckpointStore)
        reader = EventHubSource(told, checkpoints)
        yield (
            reader,
            Origin(
                address.namespace,
                address.hub,
                source.consumer_group,
                f"hub {address.hub} at {address.namespace}, consumer group {source.consumer_group}",
                Reader(
                    reader.newest,
                    lambda partition: reader.counts(partition).redelivered,
                    reader.asked_ms,
                    reader.ask,
                    lambda: reader.problems,
                    lambda: reader.trouble,
                    reader.path,
                ),
            ),
        )


@asynccontextmanager
async def _open_kafka(source: KafkaSource, keying: Keying | None) -> AsyncIterator[tuple[Source, Origin]]:
    _require_faust()
    from consumer.sources.faust import FaustSource  # noqa: PLC0415 - half a second
    from consumer.sources.faust_rekey import Rekeying  # noqa: PLC0415

    assert keying is not None
    put_aside = keying.put_aside
    assert put_aside is not None

    async def put_aside_here(batch: RawBatch, row: int, element: int, why: str) -> bool:
        place = PartitionId(_broker_of(source), source.topic, source.group, batch.partition)
        return await put_aside(place, batch, row, element, why)

    async with AsyncExitStack() as stack:
        told = await faust_settings(source, stack, keying.margin_s)
        reader = FaustSource(told, Rekeying(keying.find, put_aside_here))
        description = f"topic {source.topic} at {source.bootstrap}, consumer group {source.group}"
        if source.rekey_topic is not None:
            description += f", re-keyed in {source.rekey_topic}"
        knows = Reader(
            reader.newest,
            lambda _: 0,
            reader.asked_ms,
            reader.ask,
            lambda: reader.problems,
            lambda: reader.trouble,
            stored=reader.stored,
        )
        yield (
            reader,
            Origin(
                _broker_of(source), source.read_topic, source.group, description, knows, [reader.collector]
            ),
        )


def _require_faust() -> None:
    try:
        import_module("consumer.sources.faust_app")
    except ImportError as error:
        raise ConfigurationError("source.type kafka needs Faust: pip install 'inturn[faust]'") from error


def _broker_of(source: KafkaSource) -> str:
    """The namespace under which stores file the partitions: the first broker."""
    return source.bootstrap.split(",", 1)[0]


async def faust_settings(source: KafkaSource, stack: AsyncExitStack, margin_s: float = 5.0) -> FaustSettings:
    """What the Faust source is told. Raises `ConfigurationError`."""
    from consumer.sources.faust_settings import FaustSecurity, FaustSettings  # noqa: PLC0415

    told = source.security
    secret = told.secret()
    is_identity = told.mechanism == "identity"
    security = FaustSecurity(
        mechanism=told.mechanism,
        tls=told.tls,
        ca_file=told.ca_file,
        username=told.username,
        secret=None if secret is None else secret.get_secret_value(),
        credential=await stack.enter_async_context(credential_for(told)) if is_identity else None,
    )
    names = FaustSettings.__dataclass_fields__.keys() & KafkaSource.model_fields.keys() - {"security"}
    return FaustSettings(
        **{name: getattr(source, name) for name in names}, security=security, margin_s=margin_s
    )


@asynccontextmanager
async def open_log(
    source: configured.Source, *, group: str | None = None
) -> AsyncIterator[tuple[Log, Origin]]:
    """The source's log, to be read beside whoever consumes it, if given with another consumer group.

    The origin names the configured group all the same. Raises `ConfigurationError`.
    """
    if isinstance(source, KafkaSource):
        _require_faust()
        from consumer.sources.faust_log import KafkaLog  # noqa: PLC0415

        async with AsyncExitStack() as stack:
            topics = KafkaLog(await faust_settings(source, stack))
            stack.push_async_callback(topics.close)
            description = f"topic {source.read_topic} at {source.bootstrap}"
            yield topics, Origin(_broker_of(source), source.read_topic, source.group, description)
        return
    if isinstance(source, configured.FileSource):
        from consumer.sources.file_log import FileLog  # noqa: PLC0415

        yield FileLog(*source.paths), _origin_of_files(source)
        return
    from consumer.sources.eventhub_log import HubLog  # noqa: PLC0415
    from consumer.sources.eventhub_settings import address_of  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        told = await _eventhub_settings(source, stack)
        address = address_of(told)
        log = HubLog(replace(told, consumer_group=group or source.consumer_group), address)
        stack.push_async_callback(log.close)
        description = f"hub {address.hub} at {address.namespace}"
        yield log, Origin(address.namespace, address.hub, source.consumer_group, description)


async def _eventhub_settings(source: configured.EventHubSource, stack: AsyncExitStack) -> EventHubSettings:
    from consumer.sources.eventhub_settings import EventHubSettings  # noqa: PLC0415

    secret = source.secret()
    credential = None if secret is not None else await stack.enter_async_context(credential_for(source))
    return EventHubSettings(
        connection_string=None if secret is None else secret.get_secret_value(),
        namespace=source.namespace,
        credential=credential,
        hub=source.hub,
        consumer_group=source.consumer_group,
        start=source.start,
        prefetch=source.prefetch,
        batch_max=source.batch_max,
        idle_timeout_s=source.idle_timeout_s,
        load_balancing_interval_s=source.load_balancing_interval_s,
        stall_after_s=source.stall_after_s,
        connect_timeout_s=source.connect_timeout_s,
        receive=source.receive,
        transport=source.transport,
        allow_plaintext_hosts=source.allow_plaintext_hosts,
    )


def _origin_of_files(source: configured.FileSource) -> Origin:
    """Files have no namespace; a checkpoint in them belongs to exactly these paths."""
    paths = [str(path) for path in source.paths]
    digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()[:16]
    return Origin("file", digest, "$default", f"file {', '.join(paths)}"[:200])
