"""The partition log against a list that remembers everything, and the hub's retention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.hub.entity import EventHub
from consumer.hub.log import EARLIEST, LATEST, Column, PartitionLog, StartPosition, StoredEvent
from consumer.hub.messages import compose, read_content
from consumer.hub.performatives import AmqpError
from consumer.hub.settings import HubSettings


class Clock:
    """A clock that the test sets, also backwards."""

    def __init__(self) -> None:
        self.now_ms = 1_000

    def __call__(self) -> int:
        return self.now_ms


def filled(count: int, clock: Clock | None = None) -> PartitionLog:
    clock = clock or Clock()
    log = PartitionLog(clock)
    for index in range(count):
        clock.now_ms += 10
        log.append([compose(b"%d" % index, None, None)])
    return log


def read_all(log: PartitionLog) -> list[StoredEvent]:
    return log.read(0, 10**6, 10**9)


steps = st.lists(
    st.tuples(st.just("append"), st.integers(1, 5), st.integers(-50, 50))
    | st.tuples(st.just("trim"), st.integers(0, 60), st.just(0)),
    max_size=40,
)


@given(steps)
def test_the_log_is_a_list_that_loses_only_its_front(steps: list[tuple[str, int, int]]) -> None:
    clock, model, begin = Clock(), list[tuple[int, int, bytes]](), 0
    log = PartitionLog(clock)
    for step, number, drift in steps:
        if step == "append":
            clock.now_ms += drift
            log.append([compose(b"x" * size, None, None) for size in range(number)])
            time_ms = max([clock.now_ms, *(time for _, time, _ in model)])
            model += [(len(model) + size, time_ms, b"x" * size) for size in range(number)]
        else:
            log.trim_before(number)
            begin = max(begin, min(number, len(model)))
        kept = [(e.sequence_number, e.enqueued_time_ms, read_content(e.message).body) for e in read_all(log)]
        assert kept == model[begin:]
        assert (log.begin, log.end, log.trimmed) == (begin, len(model), begin)
        assert (log.bytes == 0) == (not kept)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(-1, 31), st.sampled_from(Column), st.booleans())
def test_a_start_position_is_the_first_event_that_matches(
    count: int, trim: int, place: int, column: Column, inclusive: bool
) -> None:
    log = filled(count)
    events = read_all(log)
    log.trim_before(trim)
    columns = {
        Column.SEQUENCE_NUMBER: lambda event: event.sequence_number,
        Column.OFFSET: lambda event: event.offset,
        Column.ENQUEUED_TIME: lambda event: event.enqueued_time_ms,
    }
    value = columns[column](events[place]) if 0 <= place < count else place
    start = StartPosition(column, value, inclusive)
    last = -1 if not events else columns[column](events[-1])
    if column is not Column.ENQUEUED_TIME and value > last:
        with pytest.raises(AmqpError, match="argument-error"):
            log.locate(start)
        return
    matching = [
        event.sequence_number
        for event in events[min(trim, count) :]
        if columns[column](event) > value or (inclusive and columns[column](event) == value)
    ]
    assert log.locate(start) == (matching[0] if matching else log.end)


def test_a_reader_behind_retention_goes_on_at_the_first_event_that_is_kept() -> None:
    log = filled(10)
    log.trim_before(7)
    assert [event.sequence_number for event in log.read(2, 2, 10**9)] == [7, 8]


def test_the_latest_position_is_after_the_last_event_and_the_earliest_before_the_first() -> None:
    log = filled(3)
    assert (log.locate(EARLIEST), log.locate(LATEST)) == (0, 3)
    assert PartitionLog(Clock()).locate(LATEST) == 0


def test_a_read_stops_at_its_limits_but_gives_one_event_at_least() -> None:
    log = filled(10)
    assert len(log.read(0, 4, 10**9)) == 4
    assert len(log.read(0, 10, 1)) == 1


def test_an_empty_partition_says_so_and_a_trimmed_one_remembers_its_last_event() -> None:
    log = PartitionLog(Clock())
    assert log.properties() == (-1, -1, "-1", 0, True)
    log = filled(3)
    last = read_all(log)[-1]
    log.trim_before(3)
    assert log.properties() == (3, 2, str(last.offset), last.enqueued_time_ms, True)


def test_readers_are_told_of_every_append() -> None:
    log, calls = filled(0), []
    log.on_append["reader"] = lambda: calls.append(log.end)
    log.append([compose(b"", None, None)] * 2)
    log.append([])
    assert calls == [2]


def test_a_full_hub_trims_its_oldest_events_of_whichever_partition() -> None:
    clock = Clock()
    logs = [PartitionLog(clock), PartitionLog(clock)]
    hub = EventHub(HubSettings(name="small", partitions=2, retention_bytes_max=10_000), logs, 0, 5)
    for index in range(100):
        clock.now_ms += 1
        hub.append([compose(b"x" * 300, None, None)], str(index % 2))
        assert hub.bytes <= 10_000
    kept = sorted(event.enqueued_time_ms for log in logs for event in read_all(log))
    assert kept == list(range(1_101 - len(kept), 1_101))
    assert hub.trimmed == 100 - len(kept) > 0


def test_the_newest_event_of_a_partition_is_kept_however_small_the_limit() -> None:
    log = PartitionLog(Clock())
    hub = EventHub(HubSettings(name="tiny", partitions=1, retention_bytes_max=1), [log], 0, 5)
    for body in (b"first", b"second"):
        hub.append([compose(body, None, None)])
    assert [read_content(event.message).body for event in read_all(log)] == [b"second"]


def test_events_without_a_key_take_the_partitions_in_rotation() -> None:
    logs = [PartitionLog(Clock()) for _ in range(3)]
    hub = EventHub(HubSettings(name="hub", partitions=3), logs, 0, 5)
    for _ in range(7):
        hub.append([compose(b"", None, None)])
    assert [log.end for log in logs] == [3, 2, 2]


def test_a_failed_journal_adds_nothing() -> None:
    class Broken:
        next_sequence_number = 0

        def append(self, events: list[StoredEvent]) -> None:
            raise OSError(28, "No space left on device")

        def trim(self, begin: int) -> None:
            raise AssertionError

    log = PartitionLog(Clock())
    log.restore([], Broken())
    with pytest.raises(OSError, match="space"):
        log.append([compose(b"", None, None)])
    assert (log.end, log.bytes, log.properties().is_empty) == (0, 0, True)


def test_who_appends_is_told_where_the_events_are() -> None:
    logs = [PartitionLog(Clock()) for _ in range(3)]
    hub = EventHub(HubSettings(name="hub", partitions=3), logs, 0, 5)
    event = compose(b"", None, None)
    assert hub.append([event, event], "2") == ("2", 0)
    assert hub.append([event], "2") == ("2", 2)
    assert hub.append([event]) == ("0", 0)
    assert hub.append([]) is None
