"""How many events may begin, and whose turn it is."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.runtime.rate import Queue, RatePolicy, TokenBucket


def test_after_a_pause_a_burst_may_begin_and_then_events_at_the_rate():
    bucket = TokenBucket(RatePolicy(events=10, per_s=2, burst=3), 0)
    began = []
    now_s = 0.0
    for _ in range(6):
        now_s += bucket.wait_s(1, now_s)
        bucket.take(1, now_s)
        began.append(round(now_s, 3))
    assert began == [0, 0, 0, 0.2, 0.4, 0.6]


def test_a_pause_fills_the_bucket_no_further_than_the_burst():
    bucket = TokenBucket(RatePolicy(1, 1, 5), 0)
    assert bucket.whole(1_000) == 5
    bucket.take(5, 1_000)
    assert bucket.whole(1_001.5) == 1


def test_what_was_given_back_may_begin_after_all():
    bucket = TokenBucket(RatePolicy(1, 1, 5), 0)
    bucket.take(4, 0)
    bucket.give_back(3, 0)
    assert bucket.whole(0) == 4
    bucket.give_back(3, 0)
    assert bucket.whole(0) == 5


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_rate_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="not a rate"):
        RatePolicy(*wrong)


@given(
    st.integers(1, 50),
    st.sampled_from([0.5, 1.0, 60.0]),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(1, 60), st.floats(0, 20)), min_size=1, max_size=40),
)
def test_in_no_stretch_of_time_more_events_begin_than_the_burst_and_the_rate_allow(
    events, per_s, burst, asked
):
    """Against a look at every pair of moments."""
    bucket, now_s, began = TokenBucket(RatePolicy(events, per_s, burst), 0), 0.0, []
    for count, pause_s in asked:
        now_s += pause_s
        now_s += bucket.wait_s(count, now_s)
        assert bucket.wait_s(count, now_s) < 1e-3
        bucket.take(count, now_s)
        began.append((now_s, min(count, burst)))
    for first, (from_s, _) in enumerate(began):
        for last in range(first, len(began)):
            allowed = burst + (began[last][0] - from_s) * events / per_s
            assert sum(count for _, count in began[first : last + 1]) <= allowed + 1e-3


def test_a_partition_with_many_lanes_gets_no_more_turns_than_one_with_few():
    queue: Queue[str] = Queue()
    for lane in range(8):
        queue.put("0", f"0/{lane}")
    queue.put("1", "1/0")
    taken = []
    for _ in range(8):
        waiter = queue.pop()
        taken.append(waiter)
        queue.put(waiter[0], waiter)
    assert Counter(waiter[0] for waiter in taken) == {"0": 4, "1": 4}
    assert [waiter for waiter in taken if waiter[0] == "0"] == ["0/0", "0/1", "0/2", "0/3"]


operations = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abc")),
    st.tuples(st.just("pop"), st.just("")),
    st.tuples(st.just("remove"), st.integers(0, 30)),
)


@given(st.lists(operations, max_size=60))
def test_the_queue_gives_turns_as_a_list_of_all_who_wait_would(told):
    queue: Queue[tuple[str, int]] = Queue()
    order: deque[str] = deque()
    waiting: list[tuple[str, int]] = []
    number = 0
    for step, given_ in told:
        if step == "put":
            waiter = (given_, number)
            number += 1
            if given_ not in order:
                order.append(given_)
            waiting.append(waiter)
            queue.put(given_, waiter)
        elif step == "pop" and waiting:
            partition = order.popleft()
            expected = next(each for each in waiting if each[0] == partition)
            assert queue.next == expected
            assert queue.pop() == expected
            waiting.remove(expected)
            order.append(partition)
        elif step == "remove" and waiting:
            gone = waiting.pop(given_ % len(waiting))
            queue.remove(*(gone[0], gone))
            queue.remove(gone[0], gone)
        order = deque(each for each in order if each in {who for who, _ in waiting})
        assert len(queue) == len(waiting)
        assert bool(queue) == bool(waiting)
