"""When a processor's target is taken for down, and what that costs an event."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.runtime.breaker import Breaker, BreakerPolicy, BreakerState, Patience

POLICY = BreakerPolicy(failures=3, open_s=5, open_max_s=30, probe_max_s=60)


def opened(policy: BreakerPolicy = POLICY) -> Breaker:
    """A breaker that has just opened, at the time 0."""
    breaker = Breaker(policy)
    for _ in range(policy.failures):
        breaker.failed(breaker.begin(0), 0)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_failures_in_a_row_open_it_and_any_success_in_between_does_not_let_them():
    breaker = Breaker(POLICY)
    for _ in range(10):
        breaker.failed(0, 0)
        breaker.failed(0, 0)
        breaker.succeeded()
    assert (breaker.state, breaker.opened) == (BreakerState.CLOSED, 0)
    for _ in range(3):
        breaker.failed(0, 0)
    assert (breaker.state, breaker.opened, breaker.wait_s(0)) == (BreakerState.OPEN, 1, 5)


def test_after_its_time_one_attempt_is_let_in_and_no_second_one():
    breaker = opened()
    assert breaker.wait_s(4) == 1
    assert breaker.wait_s(5) == 0
    breaker.begin(5)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.wait_s(5) > 0


def test_a_probe_that_fails_doubles_the_wait_up_to_its_limit():
    breaker, now_s, waits = opened(), 0.0, []
    for _ in range(5):
        now_s += breaker.wait_s(now_s)
        breaker.failed(breaker.begin(now_s), now_s)
        waits.append(breaker.wait_s(now_s))
    assert waits == [10, 20, 30, 30, 30]
    assert breaker.opened == 1


def test_a_probe_that_succeeds_closes_it_and_the_next_opening_begins_with_the_short_wait():
    breaker = opened()
    breaker.failed(breaker.begin(5), 5)
    breaker.begin(15)
    breaker.succeeded()
    assert (breaker.state, breaker.wait_s(15)) == (BreakerState.CLOSED, 0)
    for _ in range(3):
        breaker.failed(0, 20)
    assert (breaker.wait_s(20), breaker.opened) == (5, 2)


def test_a_probe_that_is_rejected_or_cut_off_has_shown_nothing_and_the_next_one_may_follow_at_once():
    breaker = opened()
    breaker.withdrawn(breaker.begin(5), 6)
    assert (breaker.state, breaker.wait_s(6)) == (BreakerState.OPEN, 0)


def test_a_probe_that_never_ends_does_not_keep_the_others_from_probing():
    breaker = opened()
    lost = breaker.begin(5)
    assert breaker.wait_s(5) == 60
    second = breaker.begin(65)
    breaker.failed(lost, 66)
    assert breaker.state is BreakerState.HALF_OPEN, "what a lost probe says at last ends no other"
    breaker.failed(second, 66)
    assert breaker.state is BreakerState.OPEN


def test_what_was_under_way_when_it_opened_prolongs_nothing_and_closes_it_if_it_succeeds():
    breaker = opened()
    breaker.failed(0, 4)
    assert breaker.wait_s(4) == 1
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


# What it costs an event.


def until_given_up(breaker: Breaker, now_s: float, attempts_max: int = 4) -> tuple[int, float]:
    """Try an event that always fails, alone; gives the number of attempts and the time then."""
    patience, attempts = Patience(attempts_max), 0
    while patience.spent < attempts_max:
        now_s += breaker.wait_s(now_s)
        patience.failed(breaker, breaker.begin(now_s), now_s)
        attempts += 1
    breaker.gave_up()
    return attempts, now_s


def test_without_a_breaker_every_failed_attempt_is_spent():
    patience = Patience(3)
    for _ in range(3):
        patience.failed(None, 0, 0)
    assert patience.spent == 3


def test_a_bad_event_that_others_succeed_beside_is_given_up_after_its_attempts_and_opens_nothing():
    breaker, patience = Breaker(POLICY), Patience(5)
    for _ in range(5):
        patience.failed(breaker, breaker.begin(0), 0)
        breaker.succeeded()
    assert (patience.spent, breaker.opened) == (5, 0)


def test_a_bad_event_alone_opens_it_and_is_given_up_after_as_many_probes_as_it_has_attempts():
    attempts, now_s = until_given_up(Breaker(POLICY), 0)
    assert attempts == 3 + 4
    assert now_s == 5 + 10 + 20 + 30


def test_when_a_bad_event_is_given_up_the_next_one_closes_the_breaker():
    breaker = Breaker(POLICY)
    _, now_s = until_given_up(breaker, 0)
    assert breaker.wait_s(now_s) == 30
    breaker.begin(now_s + 30)
    breaker.succeeded()
    assert breaker.is_calm
    assert breaker.wait_s(now_s + 30) == 0


def test_an_outage_of_a_day_costs_a_single_lane_about_ten_events_and_each_is_given_up_within_hours():
    breaker, now_s, waits_s = Breaker(BreakerPolicy()), 0.0, []
    while now_s < 86_400:
        _, until_s = until_given_up(breaker, now_s, attempts_max=5)
        waits_s.append(until_s - now_s)
        now_s = until_s
    assert len(waits_s) <= 10
    assert waits_s == sorted(waits_s)
    assert waits_s[0] < 300
    assert max(waits_s) <= 5.5 * 3_600


def test_what_a_hundred_lanes_had_under_way_when_the_target_went_down_is_not_spent():
    breaker = Breaker(POLICY)
    lanes = [Patience(2) for _ in range(100)]
    for patience in lanes:
        patience.failed(breaker, 0, 0)
    assert [patience.spent for patience in lanes] == [1, 1] + [0] * 98


def test_an_event_is_forgiven_once_so_that_one_that_opens_it_time_and_again_is_given_up():
    breaker, patience = Breaker(POLICY), Patience(5)
    for _ in range(3):
        patience.failed(breaker, breaker.begin(0), 0)
    assert (patience.spent, breaker.opened) == (0, 1)
    breaker.succeeded()
    for _ in range(3):
        patience.failed(breaker, breaker.begin(0), 0)
    assert (patience.spent, breaker.opened) == (3, 2)


def test_with_a_single_attempt_nothing_is_tried_twice():
    breaker = opened()
    for probe in (0, breaker.begin(5), 0):
        patience = Patience(1)
        patience.failed(breaker, probe, 5)
        assert patience.spent == 1
        breaker.gave_up()


@pytest.mark.parametrize(
    "wrong",
    [{"failures": 0}, {"open_s": 0}, {"open_s": 10, "open_max_s": 5}, {"probe_max_s": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="not a policy"):
        BreakerPolicy(**wrong)


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(st.sampled_from(["fails", "others succeed"]), max_size=80),
)
def test_however_the_others_fare_a_bad_event_is_given_up_in_the_end(failures, attempts_max, told):
    """Each success in between closes the breaker; after the last one told everything fails."""
    breaker = Breaker(BreakerPolicy(failures=failures, open_s=1, open_max_s=8))
    patience, now_s = Patience(attempts_max), 0.0
    steps = iter(told)
    for _ in range(2 * (failures + attempts_max) + 1):
        if patience.spent >= attempts_max:
            break
        if next(steps, "fails") == "others succeed":
            breaker.succeeded()
        now_s += breaker.wait_s(now_s)
        patience.failed(breaker, breaker.begin(now_s), now_s)
    assert patience.spent >= attempts_max


class BreakerInUse(RuleBasedStateMachine):
    """Lanes that try, against a model that knows every attempt and has no states."""

    @initialize(failures=st.integers(1, 4), open_s=st.integers(1, 5), factor=st.integers(1, 9))
    def begin(self, failures: int, open_s: int, factor: int) -> None:
        self.policy = BreakerPolicy(failures, open_s, open_s * factor, probe_max_s=20)
        self.breaker = Breaker(self.policy)
        self.now_s = 0.0
        self.under_way: list[tuple[int, float]] = []
        self.row = self.probes_failed = 0
        self.closed_until_s: float | None = None
        """Before that time nothing may begin; None: it is closed."""
        self.probe: int | None = None

    @rule(pause_s=st.integers(0, 40))
    def wait(self, pause_s: int) -> None:
        self.now_s += pause_s

    @rule()
    def try_one(self) -> None:
        may = self.closed_until_s is None or self.now_s >= self.closed_until_s
        assert (self.breaker.wait_s(self.now_s) == 0) == may
        if not may:
            assert self.breaker.wait_s(self.now_s) == self.closed_until_s - self.now_s
            return
        number = self.breaker.begin(self.now_s)
        assert bool(number) == (self.closed_until_s is not None)
        assert number not in [each for each, _ in self.under_way if each]
        if number:
            self.probe, self.closed_until_s = number, self.now_s + self.policy.probe_max_s
        self.under_way.append((number, self.now_s))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(["succeeds", "fails", "shows nothing"]))
    def end_one(self, data: st.DataObject, how: str) -> None:
        number, _ = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        is_probe = number != 0 and number == self.probe
        if how == "succeeds":
            self.breaker.succeeded()
            self.row = self.probes_failed = 0
            self.closed_until_s = self.probe = None
        elif how == "fails":
            self.breaker.failed(number, self.now_s)
            self.row += 1
            if is_probe:
                self.probes_failed += 1
                self.probe = None
            elif self.closed_until_s is not None or self.row < self.policy.failures:
                return
            wait_s = min(self.policy.open_s * 2**self.probes_failed, self.policy.open_max_s)
            self.closed_until_s = self.now_s + wait_s
        else:
            self.breaker.withdrawn(number, self.now_s)
            if is_probe:
                self.closed_until_s, self.probe = self.now_s, None

    @invariant()
    def it_says_what_it_is(self) -> None:
        expected = (
            BreakerState.CLOSED
            if self.closed_until_s is None
            else BreakerState.OPEN
            if self.probe is None
            else BreakerState.HALF_OPEN
        )
        assert self.breaker.state is expected
        assert self.breaker.is_calm == (self.row == 0)


TestBreakerInUse = BreakerInUse.TestCase
TestBreakerInUse.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
