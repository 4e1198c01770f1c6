"""Every metric of inturn: its name, its labels, where its number comes from, and what to do about it.

Names follow OpenTelemetry's messaging conventions as Prometheus spells them where there is one, and
begin with ``inturn_`` where there is none. Labels are closed lists: partitions, configured processors,
and the enumerations in `consumer.events`. What partitions count is labelled ``partition`` everywhere, so
that all of it can be joined.
"""

from __future__ import annotations

from collections.abc import Callable

from consumer.events import OrderedBy, Outcome, Reason
from consumer.status import EngineStatus, PartitionStatus, ProcessorStatus
from consumer.telemetry.metric_kinds import Breakdown, Kind, Metric


def _partition(
    name: str, text: str, read: Callable[[PartitionStatus], float | None], kind: Kind = Kind.GAUGE
) -> Metric[PartitionStatus]:
    return Metric(name, kind, ("partition",), text, read)


def _processor(
    name: str, text: str, read: Callable[[ProcessorStatus], float | None], kind: Kind = Kind.GAUGE
) -> Metric[ProcessorStatus]:
    return Metric(name, kind, ("processor",), text, read)


PARTITION_STATES = ("reading", "paused", "draining", "halted")
ENGINE_STATES = ("starting", "running", "draining", "stopped")
BREAKER_STATES = ("closed", "half_open", "open")
"""From good to bad."""

_IGNORED = (Reason.TOPIC, Reason.TYPE, Reason.CONTROL, Reason.FILTER)
_OUTCOMES: dict[str, tuple[str, ...]] = {
    **{outcome.value: (outcome.value, "") for outcome in (Outcome.HANDLED, Outcome.DUPLICATE, Outcome.STALE)},
    **{f"{Outcome.IGNORED}:{reason}": (Outcome.IGNORED.value, reason.value) for reason in _IGNORED},
    **{
        f"{Outcome.DEAD_LETTERED}:{reason}": (Outcome.DEAD_LETTERED.value, reason.value)
        for reason in Reason
        if reason not in _IGNORED
    },
}

EVENTS: Breakdown[EngineStatus] = Breakdown(
    "inturn_events_total",
    ("outcome", "reason"),
    "Events by the outcome they reached. handled is the work done; a rising dead_lettered wants "
    "`inturn dlq list`; ignored that you did not expect wants a look at `topics`, `types` and filters.",
    lambda e: e.outcomes,
    _OUTCOMES,
    ("other", "other"),
)
ORDERED_BY: Breakdown[PartitionStatus] = Breakdown(
    "inturn_events_ordered_total",
    ("ordered_by",),
    "Events by what they were ordered by. Much `arrival` means that nothing in the events shows their order: "
    "configure an order token for the type.",
    lambda p: p.ordered_by,
    {by.value: (by.value,) for by in OrderedBy},
    ("other",),
)

PARTITION_METRICS: tuple[Metric[PartitionStatus], ...] = (
    _partition(
        "messaging_client_consumed_messages_total",
        "Events read from the hub that reached their outcome. Flat while the lag is above zero: the "
        "partition is stuck; /livez and the processors' last errors say why.",
        # Not with those in flight: a counter must not fall when they are given up.
        lambda p: sum(p.outcomes.values()),
        Kind.COUNTER,
    ),
    _partition(
        "messaging_eventhubs_consumer_lag",
        "Sequence numbers between the newest event in the partition and the checkpoint. Rising for longer "
        "than a burst lasts: add replicas or workers, or look for the processor that is busy.",
        lambda p: p.lag,
    ),
    _partition(
        "inturn_in_flight_events",
        "Events received and not resolved. At its limit the partition is paused: a processor "
        "is slow or failing.",
        lambda p: p.in_flight,
    ),
    _partition(
        "inturn_held_events",
        "Events held until their turn is certain. At its limit the partition is paused: shorten the reorder "
        "window or raise the limit.",
        lambda p: p.held,
    ),
    _partition(
        "inturn_held_bytes",
        "Memory held by events that wait for their turn. At its limit the partition is paused.",
        lambda p: p.held_bytes,
    ),
    _partition(
        "inturn_checkpoint_age_seconds",
        "Since the last successful checkpoint write, or the assignment. High with events in flight: the "
        "store does not answer or an event does not finish; a crash now would repeat that much.",
        lambda p: p.checkpoint_age_s,
    ),
    _partition(
        "inturn_partition_heartbeat_age_seconds",
        "Since the partition's task last turned. Above its limit /livez fails and the process "
        "should be restarted.",
        lambda p: p.heartbeat_age_s,
    ),
    _partition(
        "inturn_checkpoint_sequence_number",
        "Sequence number up to which everything is resolved. Standing still while the lag rises: one event "
        "does not finish; `inturn status` names the processor.",
        lambda p: p.checkpoint,
    ),
    _partition(
        "inturn_objects",
        "Objects whose last released order token is remembered. Growth without end makes snapshots large.",
        lambda p: p.objects,
    ),
    _partition(
        "inturn_identities",
        "Identities remembered to recognise duplicates. At its cap the oldest are forgotten early.",
        lambda p: p.identities,
    ),
    _partition(
        "inturn_redelivered_total",
        "Messages that the client library delivered again and that were dropped. Harmless; "
        "many mean a bad link.",
        lambda p: p.redelivered,
        Kind.COUNTER,
    ),
    _partition(
        "inturn_gaps_total",
        "Sequence numbers that never came. Above zero, events were lost before they were read: the hub's "
        "retention is shorter than the lag, or the hub was recreated.",
        lambda p: p.gaps,
        Kind.COUNTER,
    ),
    _partition(
        "inturn_unkeyed_total",
        "Events without a partition key. Their object's order is not safe on a hub with several partitions:"
        " set the delivery property PartitionKey on the Event Grid subscription.",
        lambda p: p.unkeyed,
        Kind.COUNTER,
    ),
    _partition(
        "inturn_identity_conflicts_total",
        "Events with the identity of another and different data. Both were processed; ask the producer why.",
        lambda p: p.identity_conflicts,
        Kind.COUNTER,
    ),
    _partition(
        "inturn_incomparable_total",
        "Events whose order token cannot be compared with that of their object's last event. Arrival order "
        "stood: configure one kind of order token for the type.",
        lambda p: p.incomparable,
        Kind.COUNTER,
    ),
    _partition(
        "inturn_identities_evicted_total",
        "Identities forgotten before their time. A late duplicate could be processed twice: raise the cap.",
        lambda p: p.identities_evicted,
        Kind.COUNTER,
    ),
    _partition(
        "inturn_released_early_total",
        "Held events that a limit let go before the reorder window had passed. Order may suffer: raise the "
        "limits under `sequence`, or shorten the window.",
        lambda p: p.released_early,
        Kind.COUNTER,
    ),
    _partition(
        "inturn_internal_events",
        "Events that processors and rules emitted and that somebody is not done with. At its limit the "
        "partition is paused: a processor that names them is slow or failing.",
        lambda p: p.internal,
    ),
    _partition(
        "inturn_internal_emitted_total",
        "Events that processors and rules emitted.",
        lambda p: p.internal_outcomes.get("emitted", 0),
        Kind.COUNTER,
    ),
    _partition(
        "inturn_internal_unwanted_total",
        "Emitted events that no processor names among its `types`: nobody was told of them.",
        lambda p: p.internal_outcomes.get("unwanted", 0),
        Kind.COUNTER,
    ),
    _partition(
        "inturn_expectations_pending",
        "Events after which a rule still waits for another. At its limit further ones are not watched.",
        lambda p: p.expectations.get("pending", 0),
    ),
    _partition(
        "inturn_expectations_met_total",
        "Events that were followed by what a rule expects.",
        lambda p: p.expectations.get("met", 0),
        Kind.COUNTER,
    ),
    _partition(
        "inturn_expectations_missed_total",
        "Events that were not followed in time by what a rule expects. If all are missed, look for events of "
        "one key on different partitions.",
        lambda p: p.expectations.get("missed", 0),
        Kind.COUNTER,
    ),
    _partition(
        "inturn_expectations_unwatched_total",
        "Events that came when a rule's `pending_max` was reached, or whose names are too long to be kept: "
        "nobody is told if nothing follows them.",
        lambda p: p.expectations.get("unwatched", 0),
        Kind.COUNTER,
    ),
)

PROCESSOR_METRICS: tuple[Metric[ProcessorStatus], ...] = (
    _processor(
        "inturn_processor_queued_events",
        "Events waiting in the processor's lanes. At its limit the source is paused: raise the concurrency.",
        lambda p: p.queued,
    ),
    _processor(
        "inturn_processor_running_events",
        "Events inside an attempt now. Always at the concurrency: the processor is what limits the flow.",
        lambda p: p.running,
    ),
    _processor(
        "inturn_processor_handled_total",
        "Events the processor handled. Flat while it has events queued: its receiver is down, "
        "see last_error.",
        lambda p: p.handled,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_attempts_failed_total",
        "Attempts that did not succeed and are retried by policy. Rising: its receiver is "
        "failing or too slow.",
        lambda p: p.attempts_failed,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_dead_lettered_total",
        "Events the processor gave up. Mend the cause, then `inturn dlq redrive`.",
        lambda p: p.dead_lettered,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_stale_skipped_total",
        "Events skipped because a later one of their object was already released. Many: widen "
        "the reorder window.",
        lambda p: p.stale_skipped,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_refused_total",
        "Events of its types that the processor's filter kept from it. Many: `inturn check` says what Event "
        "Grid could keep back.",
        lambda p: p.refused,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_busy_seconds_total",
        "Time spent inside attempts. Its rate is the mean number of lanes at work.",
        lambda p: p.busy_s,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_abandoned_attempts",
        "Attempts that go on now although they were cut off at their deadline. Above zero: the processor "
        "swallows cancellation and must be mended; with more than eight the process restarts itself.",
        lambda p: p.abandoned,
    ),
    _processor(
        "inturn_processor_breaker_opened_total",
        "How often the processor's target was taken for down. Rising: it comes and goes, see last_error.",
        lambda p: p.breaker_opened,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_breaker_waited_seconds_total",
        "What lanes have waited for an open breaker, added up. Nothing is lost meanwhile.",
        lambda p: p.breaker_waited_s,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_rate_waited_seconds_total",
        "What lanes have waited for the rate limit, added up. Rising with a lag that rises: raise `rate`.",
        lambda p: p.rate_waited_s,
        Kind.COUNTER,
    ),
    _processor(
        "inturn_processor_parked_objects",
        "Objects whose events all go to the dead letters, behind one that failed. Mend the cause, then "
        "`inturn dlq redrive`: at its limit further failures hold up their lanes.",
        lambda p: p.parked,
    ),
)

ENGINE_METRICS: tuple[Metric[EngineStatus], ...] = (
    Metric(
        "inturn_ready",
        Kind.GAUGE,
        (),
        "1 if ready to work; /readyz says in sentences why not.",
        lambda e: float(e.ready and not e.not_ready),
    ),
    Metric(
        "inturn_uptime_seconds",
        Kind.GAUGE,
        (),
        "Since the start. Often near zero: it crashes.",
        lambda e: e.uptime_s,
    ),
    Metric(
        "inturn_partitions_owned",
        Kind.GAUGE,
        (),
        "Partitions this process owns. The sum over all replicas must be the number in the hub; a surplus "
        "replica owns none, which is fine.",
        lambda e: len(e.partitions),
    ),
    Metric(
        "inturn_dead_letters",
        Kind.GAUGE,
        (),
        "Dead letters in the store, absent if it cannot be asked. Above zero: `inturn dlq list`, then "
        "redrive or purge.",
        lambda e: e.dead_letters,
    ),
    Metric(
        "inturn_objects_spread",
        Kind.GAUGE,
        (),
        "Objects seen on more than one partition: their order is not safe. Set the partition key on the "
        "subscription, or re-key with the forward processor or the Faust engine.",
        lambda e: e.objects_spread,
    ),
    Metric(
        "inturn_event_loop_blocks_total",
        Kind.COUNTER,
        (),
        "How often something held up the event loop for more than a second. The log names the processor and "
        "the line: move that work into a thread.",
        lambda e: e.loop_blocks,
    ),
    Metric(
        "inturn_event_loop_longest_block_seconds",
        Kind.GAUGE,
        (),
        "The longest of these times. At 60 s the process ends itself.",
        lambda e: e.loop_longest_block_s,
    ),
)

PARTITION_STATE = (
    "inturn_partition_state",
    "1 for the state a partition is in. halted wants an operator now.",
)
BREAKER_STATE = (
    "inturn_processor_breaker_state",
    "1 for the state of the processor's breaker. open for long: its target is down, and its events wait.",
)
WATERMARK_AGE = (
    "inturn_watermark_age_seconds",
    "How far the partition's log time is behind the clock. High with a high lag: events act late.",
)
ENGINE_STATE = ("inturn_engine_state", "1 for the state the process is in.")
BUILD_INFO = ("inturn_build_info", "Always 1; the labels say what runs.")
PROCESS_DURATION = (
    "messaging_process_duration_seconds",
    "Time an event took in an attempt of a processor. Near the deadline: raise it, or mend the receiver.",
)
