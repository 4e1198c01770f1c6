"""Read an event hub with the client of Azure, and answer for what the client does not do.

The client (azure-eventhub 5.15) shares partitions out among replicas, connects, authenticates and attaches.
It receives too, at 40 µs an event and with a sleep of 50 ms after each look at its socket; so with a release
that we know another loop receives on its links (`eventhub_receive`, `eventhub_stream`, `amqp_frames`), and
the client's own remains for every other case (`eventhub_paths`). What the client gets wrong, by number, and
our answer:

D1   An owner that lost its partition writes the checkpoint back. — The client's own write is refused
     (`OwnershipLedger`); only the store's fenced write exists.
D2   A busy receiver does not notice that another owner has the partition. — The ownerships are read every
     second (`Patrol`); the intake is told at once, and a batch that waits there is cancelled. And ours do
     not steal: they ask, and wait until the owner has drained the partition (`eventhub_claims`).
D3   A callback may be cancelled at any await. — It awaits one thing, `Intake.received`, which takes a
     batch whole or not at all; after a cancellation the partition is assigned anew.
D4   A reconnect delivers events again, backwards. — `ReceiveGuard` lets each sequence number pass once. Our
     own loop goes on behind what it has, so that nothing comes twice.
D5   Disconnects are counted and the count never falls. — The budget is a million.
D5b  A hub that is away is connected to 20 times a second, in silence. — The client's heartbeats then fail to
     come: after 2 s the hub is asked once, the client closed, and asked again every 1 to 2 s. Until then a
     receiver pauses after each failure; with a release of the client that we do not know it does not.
     One that lets receivers in to turn them away is connected to twice a second at most (`PacedCredential`).
D6   A hub that accepts and says nothing hangs a partition for ever, and its ownership is renewed. — To
     connect has a time limit, which ends at once when the hub answers others. And the newest number is
     polled on a connection of its own: a partition that lags and gets nothing is opened anew, a client
     that does not let go is replaced, and questions have an enforced time limit.
D7   A black hole is not noticed. — `idle_timeout_s` is always set, and short: an idle hub has to say so every
     5 s. Behind it stands the watch of D6.
D8   Receivers keep a tag of every delivery. — Our own loop keeps none. The client's are cleared twice a
     second; with a release that we do not know, the link is renewed after four million deliveries instead.
D9   Closing cancels what runs. — `stop` hands over nothing new and keeps the ownership; `close` revokes every
     partition, which drains it, before the client is closed.
D10  An inclusive start repeats the checkpointed event. — The start is exclusive.
D11  A failed claim counts as won. — Our stores raise, and the fence decides who writes.
D12  The callback for a closed partition may not come. — Nothing depends on it: assigning revokes the rest.
D13  Counters do not wrap at 2^32. — A link is renewed after 2^31 deliveries.
D14  With much data the event loop is held. — No more than 1,000 messages are fetched ahead.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from azure.eventhub.aio import CheckpointStore

from consumer.errors import SourceUnavailable
from consumer.sources import Intake
from consumer.sources.eventhub_errors import Outgrown, Refused
from consumer.sources.eventhub_inquiry import HubDescription, Inquiry
from consumer.sources.eventhub_lease import PartitionCounts, Readings
from consumer.sources.eventhub_paths import choose
from consumer.sources.eventhub_session import Session, SessionParts
from consumer.sources.eventhub_settings import PREFETCH_MAX, EventHubSettings, address_of
from consumer.sources.eventhub_watchdog import Backoff

_CALM_AFTER_S = 60.0
"""A session that lasted so long was a good one: the next outage begins with the shortest wait."""
_AWAY_RETRY_S = 2.0
"""A hub that is away is knocked at so often at least, with a connection that costs next to nothing."""
_REFUSED_RETRY_S = 30.0
"""A hub that refuses us has to be seen to by somebody."""

_log = structlog.get_logger("inturn.eventhub")


class EventHubSource:
    """Reads the partitions of a hub that this replica gets its share of."""

    def __init__(self, settings: EventHubSettings, store: CheckpointStore) -> None:
        """`store` is shared by all replicas, and the same that the engine writes to.

        Raises `ConfigurationError` if the settings do not say where the hub is.
        """
        self._settings = settings
        self._store = store
        self.address = address_of(settings)
        self._readings = Readings()
        self._session: Session | None = None
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._refusal: Refused | None = None
        self._trouble: str | None = None
        """Why the hub cannot be reached."""

    def __repr__(self) -> str:
        return f"EventHubSource({self.address}/{self.address.hub}, {self._settings.consumer_group})"

    # What is known.

    def newest(self, partition: str) -> int | None:
        """The newest sequence number in a partition, at most half a minute old; None if it is not known."""
        return self._readings.newest.get(partition)

    def asked_ms(self, partition: str) -> int:
        """When the hub was asked for what `newest` says, by the local clock; 0: it never answered."""
        return self._readings.asked_ms.get(partition, 0)

    def ask(self, partition: str) -> None:
        """Have the hub asked for its newest event soon; may be called as often as one likes."""
        self._readings.wish(partition)

    def counts(self, partition: str) -> PartitionCounts:
        """What was received, redelivered and missing, since the start of the process."""
        return self._readings.of(partition)

    def path(self, partition: str) -> str | None:
        """How a partition that is ours is received: fast or sdk; None if it is not ours."""
        lease = None if self._session is None else self._session.leases.get(partition)
        return None if lease is None else lease.path

    @property
    def problems(self) -> dict[str, str]:
        """Partitions that cannot be read until somebody acts, and why."""
        return dict(self._readings.problems)

    @property
    def trouble(self) -> str | None:
        """What keeps it from reading just now, or from taking what it should read."""
        if self._trouble is not None or self._session is None:
            return self._trouble
        return self._session.ledger.trouble

    async def probe(self) -> HubDescription:
        """Ask the hub about itself, once. Raises `SourceUnavailable`: one line that says what is wrong."""
        inquiry = Inquiry(self._settings, self.address)
        try:
            description = await inquiry.describe()
            await inquiry.look_for_group(description.partitions[0].partition)
        finally:
            await inquiry.close()
        return description

    # Running.

    async def run(self, intake: Intake) -> None:
        """Read until `close`. Raises `SourceUnavailable` if the first connection does not succeed in time."""
        if self._closing.is_set():
            return
        self._ended.clear()
        if self._settings.prefetch > PREFETCH_MAX:
            _log.warning(
                "Fewer messages are fetched ahead than configured.",
                configured=self._settings.prefetch,
                fetched=PREFETCH_MAX,
            )
        inquiry = Inquiry(self._settings, self.address)
        try:
            path = choose(self._settings).path
            parts = SessionParts(
                self._settings, self.address, self._store, intake, inquiry, self._readings, path
            )
            first = await self._first_contact(inquiry)
            if first is not None:
                await self._read(parts, first)
        finally:
            self._session = None
            await inquiry.close()
            self._ended.set()
        if self._refusal is not None:
            raise self._refusal

    def stop(self) -> None:
        """Hand over nothing new from now on. Partitions stay ours until `close`."""
        self._readings.is_stopped = True

    async def close(self) -> None:
        """Give every partition back, drained; `run` has ended when this returns."""
        self.stop()
        self._closing.set()
        if self._session is not None:
            self._session.end()
        await self._ended.wait()

    async def _first_contact(self, inquiry: Inquiry) -> str | None:
        """Wait for the hub to answer; gives the id of a partition, or None if the source was closed."""
        deadline_s = time.monotonic() + self._settings.connect_timeout_s
        backoff = Backoff()
        while True:
            try:
                partition = (await inquiry.partition_ids())[0]
            except Refused:
                raise
            except SourceUnavailable as error:
                wait_s = backoff.next_s()
                if time.monotonic() + wait_s > deadline_s:
                    raise
                self._trouble = str(error)
                _log.warning("The event hub does not answer yet; trying again.", error=str(error))
            else:
                self._trouble = None
                return partition
            if await self._closed_within(wait_s):
                return None

    async def _read(self, parts: SessionParts, partition: str) -> None:
        backoff = Backoff(limit_s=_AWAY_RETRY_S)
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._look_for_group(parts.inquiry, partition))
            while not self._closing.is_set():
                started_s = time.monotonic()
                self._session = Session(parts)
                await self._session.run()
                if self._session.broken is None:
                    break
                if time.monotonic() - started_s > _CALM_AFTER_S:
                    backoff.reset()
                await self._recover(parts.inquiry, self._session.broken, backoff)
            looking.cancel()

    async def _look_for_group(self, inquiry: Inquiry, partition: str) -> None:
        try:
            await inquiry.look_for_group(partition)
        except Refused as error:
            self._refusal = error
            self._closing.set()
            if self._session is not None:
                self._session.end()

    async def _recover(self, inquiry: Inquiry, error: SourceUnavailable, backoff: Backoff) -> None:
        """Wait until the hub answers, or the source is closed."""
        if isinstance(error, Outgrown):
            _log.info("The hub has gained partitions; they are shared out anew.")
            return
        since_s = time.monotonic()
        is_refused = isinstance(error, Refused)
        tell = _log.error if is_refused else _log.warning
        tell("The event hub cannot be read; trying again until it can.", error=str(error))
        told = self._trouble = str(error)
        patient = Backoff(limit_s=_REFUSED_RETRY_S)
        while not await self._closed_within((patient if is_refused else backoff).next_s()):
            try:
                await inquiry.partition_ids()
            except SourceUnavailable as later:
                self._trouble = str(later)
                is_refused = isinstance(later, Refused)
                if is_refused and str(later) != told:
                    told = str(later)
                    _log.error("The event hub refuses us.", error=told)
                continue
            self._trouble = None
            _log.info("The event hub answers again.", away_s=round(time.monotonic() - since_s, 1))
            return

    async def _closed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True
