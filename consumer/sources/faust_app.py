"""The Faust app: its settings, and a transport that takes from Faust what we need of it.

Faust joins the group, reads, sends, commits and rebalances. What it does per message (agents, streams,
tables, acknowledgements of its own) costs 20 times as much as all the rest and loses events in known ways. So
records leave it by the batch, straight behind the fetch (`Board.deliver`), and nothing is committed but what
`Board.done` says. Written for 0.15: names with an underscore are Faust's own, and tests hold them to it.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from unittest import mock

from aiokafka.errors import KafkaError

from consumer.sources.faust_columns import Record
from consumer.sources.faust_settings import FaustSecurity, FaustSettings
from consumer.sources.faust_tokens import TokenProvider, scope_of

# Importing Faust looks for its own options in sys.argv, which is not for it.
with mock.patch.object(sys, "argv", sys.argv[:1]):
    import faust
    from faust.exceptions import FaustError as FaustError  # noqa: PLC0414 - others find it here
    from faust.sensors.prometheus import FaustMetrics as FaustMetrics  # noqa: PLC0414 - as above
    from faust.sensors.prometheus import PrometheusMonitor as PrometheusMonitor  # noqa: PLC0414 - as above
    from faust.transport.drivers import aiokafka as driver
    from faust.types import TP

_POLL_S = 0.2
"""How long a fetch waits for something new: a partition that goes on is asked for no later."""
_REBALANCE_S = 60.0
"""How long the group waits for us to give partitions back."""
_LINGER_S = 0.005
REQUEST_MAX_BYTES = 1_000_000
"""Event Hubs closes the connection over more."""
BATCH_MAX_BYTES = 262_144
IDLE_MAX_MS = 180_000
"""Azure drops connections that were silent for four minutes, without a word."""


class Board(Protocol):
    """Who is told what the group and the topics do."""

    async def assigned(self, partitions: set[TP]) -> None:
        """Partitions are ours; each has to be sought to its place and resumed."""

    async def revoked(self) -> None:
        """All partitions have to be given back; when this returns others may have them."""

    def wanted(self) -> list[tuple[TP, int]]:
        """Where the next fetch of partitions is to begin, if not behind the last one."""

    def sought(self, partition: TP, offset: int) -> None:
        """The next fetch begins there."""

    def deliver(self, partition: TP, records: Sequence[Record]) -> None:
        """Records of a partition."""

    def done(self) -> Mapping[TP, int]:
        """The offset behind everything that is done, by partition, where it is not committed yet."""

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """Offsets were committed."""


class Inlet(driver.Consumer):
    """A consumer that hands records over by the batch and commits what the board says."""

    @property
    def board(self) -> Board:
        """Of this app."""
        transport = self.transport
        assert isinstance(transport, Transport)
        return transport.board

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not fetcher.should_stop:
                await self._drain_once()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise

    async def _drain_once(self) -> None:
        if not self.flow_active:
            await self.sleep(_POLL_S / 10)
            return
        # Between two fetches: one that is under way would take the place of what it finds with it.
        for partition, offset in self.board.wanted():
            try:
                await self.seek_wait({partition: offset})
            except (KafkaError, TimeoutError):
                continue  # it was taken away, or brokers do not answer: it is wanted until it is not
            self.board.sought(partition, offset)
        active = set(self._get_active_partitions())
        if not active:  # all are paused, or being sought
            await self.sleep(_POLL_S / 10)
            return
        # What comes is never thrown away here, whatever happened meanwhile: it would not come again.
        records = await self._getmany(active, _POLL_S)
        for partition, batch in records.items():
            self.board.deliver(TP(partition.topic, partition.partition), batch)

    async def perform_seek(self) -> None:
        """Leave it to the board where reading begins."""
        assignment = {TP(each.topic, each.partition) for each in self.assignment()}
        self.pause_partitions(assignment)
        await self.board.assigned(assignment)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what is in flight before the group goes on, and commit it."""
        self.stop_flow()
        await self.board.revoked()
        await self.commit()
        await super().on_partitions_revoked(revoked)

    async def force_commit(
        self,
        topics: Any = None,  # noqa: ARG002 - Faust's own signature
        start_new_transaction: bool = True,  # noqa: ARG002, FBT001, FBT002 - as above
    ) -> bool:
        """Commit what is done, and nothing else."""
        state = self.app.sensors.on_commit_initiated(self)
        assignment = self.assignment()
        offsets = {tp: offset for tp, offset in self.board.done().items() if tp in assignment}
        is_done = bool(offsets) and await self._commit(offsets)
        if is_done:
            self.board.committed(offsets)
        self.app.sensors.on_commit_completed(self, state)
        return is_done

    async def committed_offset(self, partition: TP) -> int | None:
        """The next offset to be read, as the group has it; None if it has none."""
        thread = self._thread
        offset: int | None = await thread.call_thread(thread._ensure_consumer().committed, partition)  # noqa: SLF001
        return offset

    def close(self) -> None:
        """Leave it to the stop that is under way: this one would be on the loop of another thread.

        Faust calls it when a rebalance comes while it stops. The client would be taken for closed: it would
        neither leave the group nor hang up.
        """

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Watched elsewhere: Faust would look at streams, which there are none of."""


class Outlet(driver.Producer):
    """A producer whose brokers drop what comes twice."""

    def _settings_extra(self) -> Mapping[str, Any]:
        transport = self.transport
        assert isinstance(transport, Transport)
        return {"acks": "all", "enable_idempotence": transport.is_idempotent}


class Transport(driver.Transport):
    """Kafka, with our consumer and our producer."""

    Consumer = Inlet
    Producer = Outlet
    board: Board
    is_idempotent: bool = True


class _App(faust.App):
    """Without Faust's folders for tables: there are none, and every start would leave one where it began."""

    def _create_directories(self) -> None:
        pass


def make_app(
    settings: FaustSettings, board: Board, monitor: PrometheusMonitor, batch_bytes: int = BATCH_MAX_BYTES
) -> faust.App:
    """Make an app that reads the topics of the settings; the caller starts and stops it.

    `batch_bytes`: how large batches may become that hold more than one message.
    """
    for name in ("faust", "mode", __name__):  # Faust gives every class the logger of its module
        logging.getLogger(name).setLevel(logging.WARNING)
    # Of brokers that are away it tells twenty times a second; the source tells it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    app = _App(
        settings.group,
        broker=[f"kafka://{each}" for each in settings.bootstrap.split(",")],
        broker_credentials=credentials(settings),
        broker_client_id=f"{settings.group}-{socket.gethostname()}-{os.getpid()}",
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=min(3.0, settings.session_timeout_s / 3),
        broker_rebalance_timeout=_REBALANCE_S,
        broker_request_timeout=max(90.0, settings.session_timeout_s),
        broker_commit_interval=settings.commit_interval_s,
        broker_max_poll_records=settings.batch_max,
        consumer_metadata_max_age_ms=IDLE_MAX_MS,
        consumer_connections_max_idle_ms=IDLE_MAX_MS,
        consumer_auto_offset_reset="earliest",
        producer_metadata_max_age_ms=IDLE_MAX_MS,
        producer_connections_max_idle_ms=IDLE_MAX_MS,
        producer_request_timeout=settings.produce_timeout_s,
        producer_linger=_LINGER_S,
        producer_max_batch_size=batch_bytes,
        producer_max_request_size=REQUEST_MAX_BYTES,
        producer_acks=-1,
        producer_compression_type=None if settings.compression == "none" else settings.compression,
        topic_allow_declare=False,
        topic_disable_leader=True,
        processing_guarantee="at_least_once",
        agent_supervisor="mode.supervisors.CrashingSupervisor",
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,
        set_as_current=False,
        autodiscover=False,
    )
    app.monitor = monitor
    transport = Transport(app.conf.broker_consumer, app)
    transport.board, transport.is_idempotent = board, settings.idempotent
    app.transport = app.producer_transport = transport
    for topic in settings.topics:
        app.topics.add(app.topic(topic))
    return app


def credentials(settings: FaustSettings) -> Any:
    """How Faust, and aiokafka below it, are to authenticate; None: not at all."""
    security = settings.security
    context = tls_context(security)
    match security.mechanism:
        case "none":
            return None if context is None else faust.SSLCredentials(context)
        case "identity":
            assert security.credential is not None
            provider = TokenProvider(security.credential, scope_of(settings.bootstrap))
            return faust.OAuthCredentials(oauth_cb=provider, ssl_context=context)
        case "connection_string":
            username, mechanism = "$ConnectionString", "PLAIN"
        case _:
            username, mechanism = security.username or "", security.mechanism.upper()
    return faust.SASLCredentials(
        username=username, password=security.secret, mechanism=mechanism, ssl_context=context
    )


def client_options(settings: FaustSettings) -> Mapping[str, Any]:
    """The same for a client of aiokafka's own."""
    options: Mapping[str, Any] = driver.credentials_to_aiokafka_auth(credentials(settings))
    return {"bootstrap_servers": settings.bootstrap.split(","), **options}


def tls_context(security: FaustSecurity) -> ssl.SSLContext | None:
    """What certificates are checked with; None: the connection is not encrypted."""
    if not security.tls:
        return None
    return ssl.create_default_context(cafile=None if security.ca_file is None else str(security.ca_file))
