"""Open what the settings name: sources, stores, credentials. SDKs are imported only where they are used."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from consumer import settings as configured
from consumer.connection_settings import Connection
from consumer.events import PartitionId
from consumer.runtime.engine import Reader
from consumer.sources import Source
from consumer.sources.stretch import Log
from consumer.stores import DeadLetterStore, InspectableStore

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from consumer.sources.eventhub import EventHubSource
    from consumer.sources.eventhub_settings import EventHubSettings
    from consumer.stores.blob_container import BlobContainer


class Origin(NamedTuple):
    """Where events come from, by the names under which stores file what belongs to it."""

    namespace: str
    hub: str
    group: str
    description: str
    """For a person; no secret in it."""
    reader: Reader = Reader()

    def partition(self, partition: str) -> PartitionId:
        """The full name of a partition."""
        return PartitionId(self.namespace, self.hub, self.group, partition)


@asynccontextmanager
async def credential_for(connection: Connection) -> AsyncIterator[AsyncTokenCredential]:
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
        else:
            from consumer.stores.memory import MemoryDeadLetters  # noqa: PLC0415

            store = MemoryDeadLetters()
        stack.push_async_callback(store.close)
        yield store


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
    source: configured.Source, checkpoints: InspectableStore
) -> AsyncIterator[tuple[Source, Origin]]:
    """The source and where it reads. Raises `ConfigurationError`."""
    if isinstance(source, configured.FileSource):
        from consumer.sources.file import FileSource  # noqa: PLC0415

        yield FileSource(*source.paths), _origin_of_files(source)
        return
    async with open_eventhub(source, checkpoints) as (reader, origin):
        yield reader, origin


@asynccontextmanager
async def open_eventhub(
    source: configured.EventHubSource, checkpoints: InspectableStore
) -> AsyncIterator[tuple[EventHubSource, Origin]]:
    """The Event Hubs source and where it reads. Raises `ConfigurationError`."""
    from azure.eventhub.aio import CheckpointStore as SdkCheckpointStore  # noqa: PLC0415

    from consumer.sources.eventhub import EventHubSource  # noqa: PLC0415
    from consumer.sources.eventhub_settings import address_of  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        told = await _eventhub_settings(source, stack)
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
async def open_log(
    source: configured.Source, *, group: str | None = None
) -> AsyncIterator[tuple[Log, Origin]]:
    """The source's log, to be read beside whoever consumes it, if given with another consumer group.

    The origin names the configured group all the same. Raises `ConfigurationError`.
    """
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
