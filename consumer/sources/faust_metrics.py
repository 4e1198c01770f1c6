"""What Prometheus is shown of Kafka, besides the partitions that have pipelines: those it has anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.sources.faust_app import FaustMetrics, PrometheusMonitor

if TYPE_CHECKING:
    from consumer.sources.faust_board import FaustBoard


class FaustCollector(Collector):
    """The lag of what is re-keyed, rebalances, and what Faust's own monitor knows, as ``inturn_faust_…``."""

    def __init__(self, board: Callable[[], FaustBoard | None]) -> None:
        """`board` is asked at every scrape; None: nothing is read yet."""
        self._board = board
        self._registry = CollectorRegistry()
        self.monitor = PrometheusMonitor(metrics=FaustMetrics.create(self._registry, "inturn_faust"))
        """To be the app's."""

    def describe(self) -> Iterable[Metric]:
        """No names: what is registered beside this is fixed."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family, with what is known now."""
        board = self._board()
        lag = GaugeMetricFamily(
            "inturn_kafka_rekey_lag",
            "Messages of the source topic that were not sent on yet.",
            labels=["topic", "partition"],
        )
        sent = CounterMetricFamily("inturn_kafka_rekeyed", "Events that were sent on by their object.")
        aside = CounterMetricFamily(
            "inturn_kafka_put_aside", "Events that were too large to be sent on, and are dead letters."
        )
        turns = CounterMetricFamily("inturn_kafka_rebalances", "Times that partitions were shared out anew.")
        if board is not None:
            for reader in board.rekeyers():
                newest, following = reader.newest, reader.next_offset
                if newest is not None and following is not None:
                    topic, partition = reader.partition
                    lag.add_metric([topic, str(partition)], max(newest + 1 - following, 0))
            sent.add_metric([], board.rekeyed)
            aside.add_metric([], board.put_aside)
            turns.add_metric([], 0 if board.app is None else board.app.rebalancing_count)
        yield from (lag, sent, aside, turns)
        yield from self._registry.collect()
