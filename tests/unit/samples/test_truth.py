"""The oracle by hand-made examples, and by what must hold of every log."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events import Outcome, Position, Reason
from consumer.samples.truth import End, Rules, Spot, Truth, reckon

ML = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
STORAGE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"
BLOB_CREATED = "Microsoft.Storage.BlobCreated"
REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
WINDOW_MS = 100
RULES = Rules([ML, STORAGE], None, WINDOW_MS)
FOREVER = 10**12

HANDLED, DUPLICATE, STALE = End(Outcome.HANDLED), End(Outcome.DUPLICATE), End(Outcome.STALE)


class Entry(NamedTuple):
    sequence_number: int
    enqueued_time_ms: int
    body: bytes
    application_properties: Mapping[Any, Any] = {}


def event(
    type_: str = BLOB_CREATED, *, topic: str = STORAGE, subject: str = "s", id_: str = "1", **data: Any
) -> dict[str, Any]:
    time = data.pop("time", "2026-03-02T08:00:00Z")
    return {
        "eventType": type_,
        "topic": topic,
        "subject": subject,
        "id": id_,
        "eventTime": time,
        "data": data,
    }


def version(number: int | str, *, name: str = "m", **more: Any) -> dict[str, Any]:
    return event(
        REGISTERED, topic=ML, subject=f"models/{name}:{number}", modelName=name, modelVersion=number, **more
    )


def blob(count: int, **more: Any) -> dict[str, Any]:
    return event(sequencer=f"{count:048x}", **more)


def log(*entries: tuple[int, Any]) -> list[Entry]:
    """Each one a log time and an event, some events, or bytes."""
    return [
        Entry(
            number,
            time_ms,
            content
            if isinstance(content, bytes)
            else json.dumps(content if isinstance(content, list) else [content]).encode(),
        )
        for number, (time_ms, content) in enumerate(entries)
    ]


def ends_of(entries: Sequence[Entry], rules: Rules = RULES) -> list[End]:
    truth = reckon(rules, {"0": entries})
    return [truth.ends[position] for position in sorted(truth.ends)]


def order_of(entries: Sequence[Entry], rules: Rules = RULES) -> list[int]:
    """Sequence numbers of one object's handled events, in order."""
    truth = reckon(rules, {"0": entries})
    (positions,) = truth.handled.values()
    return [position.sequence_number for position in positions]


def test_events_within_the_window_are_put_in_order() -> None:
    assert order_of(log((0, version(3)), (10, version(1)), (20, version(2)))) == [1, 2, 0]


def test_an_event_that_comes_after_a_newer_one_went_out_is_stale() -> None:
    assert ends_of(log((0, version(3)), (WINDOW_MS, version(2)))) == [HANDLED, STALE]


def test_an_event_just_within_the_window_is_in_time() -> None:
    assert order_of(log((0, version(3)), (WINDOW_MS - 1, version(2)))) == [1, 0]


def test_whatever_arrives_moves_the_watermark() -> None:
    assert ends_of(log((0, version(3)), (WINDOW_MS, b"no event"), (WINDOW_MS, version(2)))) == [
        HANDLED,
        End(Outcome.DEAD_LETTERED, Reason.INVALID_JSON),
        STALE,
    ]


def test_the_watermark_never_falls() -> None:
    assert ends_of(log((0, version(3)), (WINDOW_MS, b"[]"), (5, version(2)))) == [HANDLED, STALE]


def test_a_release_takes_only_what_is_smaller_with_it() -> None:
    entries = log((0, version(2)), (50, version(3)), (60, version(1)), (WINDOW_MS, b"[]"), (110, version(4)))

    assert order_of(entries) == [2, 0, 1, 4]


def test_the_same_version_under_another_id_is_stale() -> None:
    assert ends_of(log((0, version(3)), (500, version("3", id_="2")))) == [HANDLED, STALE]


def test_events_that_share_a_tick_of_a_clock_both_go_out() -> None:
    one, other = event(id_="1"), event(id_="2")

    assert ends_of(log((0, one), (1, other))) == [HANDLED, HANDLED]
    assert ends_of(log((0, one), (500, other))) == [HANDLED, HANDLED]


def test_one_change_may_raise_two_types_of_event() -> None:
    entries = log((0, blob(1)), (500, blob(1, type_="Microsoft.Storage.BlobDeleted")))

    assert ends_of(entries) == [HANDLED, HANDLED]


def test_the_same_event_again_is_a_duplicate_even_if_it_would_be_stale() -> None:
    assert ends_of(log((0, version(3)), (500, version(4)), (900, version(3)))) == [
        HANDLED,
        HANDLED,
        DUPLICATE,
    ]


def test_the_same_change_under_a_new_id_is_a_duplicate_and_quotes_around_an_etag_mean_nothing() -> None:
    one, other = blob(1, etag="0x1", id_="1"), blob(1, etag="0x1", id_="2")

    assert ends_of(log((0, one), (1, other))) == [HANDLED, DUPLICATE]
    assert len(reckon(RULES, {"0": log((0, one), (1, blob(2, etag='W/"0x1"', id_="3")))}).conflicts) == 1


def test_an_identity_with_other_data_is_another_event() -> None:
    truth = reckon(RULES, {"0": log((0, blob(1, etag="0x1")), (1, blob(2, etag="0x1")))})

    assert truth.outcomes == {"handled": 2}
    assert truth.conflicts == [Position("0", 1, 0)]


def test_sequencers_of_different_length_keep_the_order_of_arrival() -> None:
    short, long = event(sequencer="9" * 32, id_="1"), event(sequencer="0" * 47 + "1", id_="2")

    assert ends_of(log((0, long), (500, short), (1_000, long | {"id": "3"}))) == [HANDLED, HANDLED, DUPLICATE]
    assert order_of(log((0, long), (1, short))) == [0, 1]


def test_sequencers_are_compared_without_regard_to_case() -> None:
    first, second = event(sequencer="9db5".zfill(48)), event(sequencer="9DC5".zfill(48))

    assert order_of(log((0, second), (1, first))) == [1, 0]


def test_a_run_that_has_ended_is_later_whatever_the_clocks_say() -> None:
    ended = event(
        "Microsoft.MachineLearningServices.RunCompleted", topic=ML, runId="r", time="2026-03-02T08:00:00Z"
    )
    running = event(
        "Microsoft.MachineLearningServices.RunStatusChanged",
        topic=ML.upper(),
        RunId="r",
        RunStatus="Running",
        time="2026-03-02T09:00:00Z",
    )

    assert order_of(log((0, ended), (1, running))) == [1, 0]


def test_a_tick_of_100_ns_orders() -> None:
    later, earlier = (event(id_=digit, time=f"2026-03-02T08:00:00.123456{digit}Z") for digit in "98")

    assert order_of(log((0, later), (1, earlier))) == [1, 0]


def test_drift_is_ordered_by_the_end_of_its_window() -> None:
    type_ = "Microsoft.MachineLearningServices.DatasetDriftDetected"
    later = event(
        type_,
        topic=ML,
        subject="1",
        DataDriftId="d",
        EndTime="2026-02-02T00:00:00Z",
        time="2026-03-01T00:00:00Z",
    )
    earlier = event(
        type_,
        topic=ML,
        subject="2",
        dataDriftId="d",
        endTime="2026-02-01T00:00:00Z",
        time="2026-03-02T00:00:00Z",
    )

    assert order_of(log((0, later), (1, earlier))) == [1, 0]


def test_a_sync_token_orders_configuration() -> None:
    topic = "/subscriptions/s/providers/microsoft.appconfiguration/configurationstores/c"
    later, earlier = (
        event("Microsoft.AppConfiguration.KeyValueModified", topic=topic, syncToken=f"a=b;sn={n}", id_=str(n))
        for n in (10, 9)
    )

    assert order_of(log((0, later), (1, earlier)), Rules(None, None, WINDOW_MS)) == [1, 0]


@pytest.mark.parametrize(
    ("element", "properties", "end"),
    [
        (event(topic=STORAGE + "2"), {}, End(Outcome.IGNORED, Reason.TOPIC)),
        (event(topic=STORAGE.upper()), {}, HANDLED),
        (event(topic=ML), {}, End(Outcome.DEAD_LETTERED, Reason.SPOOFED_TYPE)),
        (event("Microsoft.Storage.BlobDeleted"), {}, End(Outcome.IGNORED, Reason.TYPE)),
        (event(), {b"aeg-event-type": b"SubscriptionDeletion"}, End(Outcome.IGNORED, Reason.CONTROL)),
        (event(), {"aeg-event-type": "Notification"}, HANDLED),
        (
            event("Microsoft.EventGrid.SubscriptionValidationEvent", topic="elsewhere"),
            {"aeg-event-type": "Notification"},
            End(Outcome.IGNORED, Reason.CONTROL),
        ),
    ],
)
def test_admission_asks_for_control_then_topic_then_provider_then_type(
    element: Any, properties: Any, end: End
) -> None:
    entry = Entry(0, 0, json.dumps([element]).encode(), properties)

    assert ends_of([entry], Rules([ML, STORAGE], [BLOB_CREATED.upper()], 0)) == [end]


def test_what_is_not_admitted_is_not_remembered() -> None:
    rules = Rules([STORAGE], [BLOB_CREATED], 0)
    foreign = event(topic=ML)

    assert ends_of(log((0, foreign), (1, foreign)), rules) == [End(Outcome.IGNORED, Reason.TOPIC)] * 2


EVENTS = st.builds(
    lambda name, number: version(number, name=name),
    st.sampled_from("ab"),
    st.integers(0, 12),
)
CONTENTS = st.one_of(
    EVENTS,
    st.lists(EVENTS, max_size=3),
    st.sampled_from([b"no event", b"[42]", event(topic=ML), version(5, id_="2")]),
)
LOGS = st.lists(st.tuples(st.integers(0, 60), CONTENTS), max_size=40).map(
    # Log time rises by what is drawn.
    lambda steps: log(
        *((sum(step for step, _ in steps[: n + 1]), content) for n, (_, content) in enumerate(steps))
    )
)


def elements_of(entry: Entry) -> list[Any]:
    return [None] if entry.body == b"no event" else json.loads(entry.body)


def versions(entries: Sequence[Entry], positions: Sequence[Position]) -> list[int]:
    bodies = {entry.sequence_number: elements_of(entry) for entry in entries}
    return [int(bodies[p.sequence_number][p.index]["data"]["modelVersion"]) for p in positions]


@given(LOGS, st.integers(0, 300))
def test_every_element_ends_in_exactly_one_way(entries: list[Entry], window_ms: int) -> None:
    truth = reckon(Rules(None, None, window_ms), {"0": entries})

    elements = sum(len(elements_of(entry)) for entry in entries)
    assert sum(truth.outcomes.values()) == elements
    handled = [position for positions in truth.handled.values() for position in positions]
    assert len(handled) == len(set(handled)) == truth.outcomes.get("handled", 0)


@given(LOGS, st.integers(0, 300))
def test_the_events_of_an_object_are_handled_in_strictly_rising_order(
    entries: list[Entry], window_ms: int
) -> None:
    truth = reckon(Rules(None, None, window_ms), {"0": entries})

    for positions in truth.handled.values():
        order = versions(entries, positions)
        assert all(one < other for one, other in itertools.pairwise(order))


@given(LOGS)
def test_a_window_without_end_handles_every_version_once_and_in_order(entries: list[Entry]) -> None:
    truth = reckon(Rules(None, None, FOREVER), {"0": entries})

    for spot, positions in truth.handled.items():
        there = {
            element["data"]["modelVersion"]
            for entry in entries
            for element in elements_of(entry)
            if isinstance(element, dict) and f"models/{element['data'].get('modelName')}" == spot.path
        }
        assert versions(entries, positions) == sorted(there)


@given(LOGS, st.integers(0, 300), st.integers(1, 10**6))
def test_only_differences_of_log_time_matter(entries: list[Entry], window_ms: int, shift_ms: int) -> None:
    later = [entry._replace(enqueued_time_ms=entry.enqueued_time_ms + shift_ms) for entry in entries]

    rules = Rules(None, None, window_ms)
    assert reckon(rules, {"0": later}) == reckon(rules, {"0": entries})


@given(LOGS, LOGS)
def test_partitions_have_nothing_to_do_with_each_other(one: list[Entry], other: list[Entry]) -> None:
    def merged(*truths: Truth) -> dict[Spot, list[Position]]:
        return {spot: positions for truth in truths for spot, positions in truth.handled.items()}

    together = reckon(RULES, {"0": one, "1": other})

    alone = reckon(RULES, {"0": one}), reckon(RULES, {"1": other})
    assert together.handled == merged(*alone)
    assert together.ends == alone[0].ends | alone[1].ends


@given(LOGS, st.integers(0, 300))
def test_sent_twice_over_a_log_gives_only_duplicates_the_second_time(
    entries: list[Entry], window_ms: int
) -> None:
    last_ms = entries[-1].enqueued_time_ms if entries else 0
    again = [
        entry._replace(sequence_number=len(entries) + n, enqueued_time_ms=last_ms + entry.enqueued_time_ms)
        for n, entry in enumerate(entries)
    ]
    rules = Rules(None, None, window_ms)

    once, twice = reckon(rules, {"0": entries}), reckon(rules, {"0": [*entries, *again]})

    assert twice.handled == once.handled
    assert twice.outcomes.get("stale", 0) == once.outcomes.get("stale", 0)
