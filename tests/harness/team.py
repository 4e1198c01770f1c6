"""A team that has inturn act on its events: a hub and every kind of target, each a real server.

All targets live in the test's process and outlive the worker. Each notes the idempotency keys of what reached
it, in order; `keys_due` says by an oracle which ones have to come.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient

from consumer.core.catalogue import Catalogue
from consumer.core.decode import Rejection, decode
from consumer.core.idempotency import idempotency_key
from consumer.events import Event, RawBatch
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.hub.server import LoggedEvent
from consumer.samples.messages import Mix, Trace
from consumer.samples.trace import TOPICS, TYPES, plan
from consumer.samples.truth import Rules, Truth, reckon
from harness.endpoints import Authority, Endpoint
from harness.mail_server import MailServer
from harness.resource_manager import ResourceManagerServer
from harness.resource_manager_factory import Factory
from harness.resource_manager_ml import Workspace

HUB, SECOND_HUB = "events", "forwarded"
GROUP = "$Default"
WORKSPACE = "churn-prod"
PIPELINE = "refit"
_READ_S = 60.0
WINDOW_S = 0.5
MIX = Mix(repeated=0.2, overtaken=0.2, late=0.02, poison=0.01)
Wants = Callable[[Event], bool]


@dataclass(slots=True)
class Team:
    """See the module; made by `open_team`."""

    folder: Path
    hub: LocalHub
    authority: Authority
    https: Endpoint
    mail: MailServer
    azure: ResourceManagerServer
    workspace: Workspace
    factory: Factory

    def publish(self, trace: Trace) -> None:
        """Put a trace into the hub, at log times that are as far apart as it wants."""
        time_ms = round(datetime.now(UTC).timestamp() * 1_000)
        for phase in trace.phases:
            time_ms += round(phase.pause_before_s(WINDOW_S) * 1_000)
            for message in phase.messages:
                self.hub.publish(
                    HUB,
                    message.body,
                    partition_key=message.partition_key,
                    properties=message.properties,
                    enqueued_time_ms=time_ms,
                )

    def logs(self, hub: str = HUB) -> dict[str, list[LoggedEvent]]:
        """What is in a hub, by partition."""
        partitions = next(each.partitions for each in self.hub.settings.hubs if each.name == hub)
        return {str(number): self.hub.log(hub, str(number)) for number in range(partitions)}

    def truth(self) -> Truth:
        """What must become of everything that is in the hub."""
        rules = Rules(topics=TOPICS, types=TYPES, window_ms=int(WINDOW_S * 1_000))
        return reckon(rules, self.logs())

    def connection_string(self) -> str:
        """Of the hubs."""
        return self.hub.connection_string()

    # What reached the targets: idempotency keys, in order.

    def mailed(self) -> list[str]:
        return self.mail.keys

    def posted(self, path: str) -> list[str]:
        """To a path of the HTTPS server."""
        return [post.headers["webhook-id"] for post in self.https.posts if post.path == path]

    def forwarded_count(self) -> int:
        """Events in the second hub."""
        partitions = self.hub.stats()["hubs"][SECOND_HUB]["partitions"]
        return sum(each["last_sequence_number"] + 1 for each in partitions.values())

    async def forwarded(self) -> list[str]:
        """The message ids in the second hub, read by a real client."""
        count = self.forwarded_count()
        keys: list[str] = []
        has_all = asyncio.Event()
        client = EventHubConsumerClient.from_connection_string(
            self.connection_string(), GROUP, eventhub_name=SECOND_HUB
        )

        async def take(_: object, events: list[EventData]) -> None:
            keys.extend(str(event.message_id) for event in events)
            if len(keys) >= count:
                has_all.set()

        if not count:
            return keys
        async with asyncio.timeout(_READ_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(client.receive_batch(take, starting_position="-1", max_batch_size=1_000))
            await has_all.wait()
            await client.close()  # from outside: closed by its own callback it leaves connections open
        return keys


@asynccontextmanager
async def open_team(folder: Path, partitions: int = 4) -> AsyncIterator[Team]:
    """Start all of it, with certificates in an existing folder."""
    authority = Authority(folder)
    hubs = tuple(HubSettings(name=name, partitions=partitions) for name in (HUB, SECOND_HUB))
    tls = authority.server("localhost", "127.0.0.1")
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(LocalHub(LocalHubSettings(hubs=hubs)))
        https = Endpoint(tls)
        await stack.enter_async_context(https.listening())
        mail = await stack.enter_async_context(MailServer(tls, password="correct horse"))
        azure = await stack.enter_async_context(ResourceManagerServer())
        workspace, factory = Workspace(azure, WORKSPACE), Factory(azure, PIPELINE)
        yield Team(folder, hub, authority, https, mail, azure, workspace, factory)


def make_trace(seed: int, events: int) -> Trace:
    """Awkward events of all kinds, with dates of today."""
    return plan(seed, events, MIX, start=datetime.now(UTC))


# What has to come.


@dataclass(slots=True)
class Due:
    """The keys of one processor's effects, object by object in order."""

    keys: list[list[str]] = field(default_factory=list)

    @property
    def all(self) -> set[str]:
        return {key for order in self.keys for key in order}


def keys_due(team: Team, truth: Truth, wants: Mapping[str, Wants]) -> dict[str, Due]:
    """By processor, what has to reach its target.

    Events that contradict each other (one identity, other data) have one key by their producer's fault, and
    are left out, as is what follows from them.
    """
    events = {event.position: event for event in _events(team.logs())}
    conflicts = {events[position].object_id for position in truth.conflicts}
    due: dict[str, Due] = {name: Due() for name in wants}
    for order in truth.handled.values():
        of_object = [events[position] for position in order]
        if of_object and of_object[0].object_id in conflicts:
            continue
        for name, is_wanted in wants.items():
            keys = [idempotency_key(GROUP, name, event) for event in of_object if is_wanted(event)]
            if keys:
                due[name].keys.append(keys)
    return due


@dataclass(slots=True)
class Judged:
    """What is wrong with the effects of one processor."""

    lost: list[str]
    repeated: list[str]
    out_of_order: list[tuple[str, str]]

    @property
    def is_well(self) -> bool:
        return not (self.lost or self.repeated or self.out_of_order)


def judge(due: Due, came: Sequence[str]) -> Judged:
    """Compare what came, in the order in which it came, with what had to."""
    times = Counter(came)
    rank = {key: index for index, key in reversed(list(enumerate(came)))}
    inversions = [
        (before, after)
        for order in due.keys
        for before, after in itertools.pairwise(order)
        if before in rank and after in rank and rank[before] > rank[after]
    ]
    lost = sorted(due.all - times.keys())
    return Judged(lost, sorted(key for key in due.all if times[key] > 1), inversions)


def _events(logs: Mapping[str, Sequence[LoggedEvent]]) -> Iterator[Event]:
    catalogue = Catalogue()
    for partition, log in logs.items():
        for logged in log:
            batch = RawBatch(
                partition=partition,
                bodies=[logged.body],
                sequence_numbers=[logged.sequence_number],
                offsets=[logged.offset],
                enqueued_times_ms=[logged.enqueued_time_ms],
                partition_keys=[logged.partition_key],
                properties_at=lambda _: {},
            )
            for entry in decode(batch, 0, catalogue):
                if not isinstance(entry, Rejection):
                    yield entry
