"""A pipeline that lives through a whole log does what the oracle says, however the log is cut."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.snapshot import decode, encode
from consumer.core.stimuli import Verdict

from .oracle import Answer, Element, Limits, Message, Oracle, Spot
from .strategies import limits, logs
from .world import ADMITTED, WISHES, Settings, World

HANDLED, SKIPPED, FAILED = Verdict.HANDLED, Verdict.SKIPPED, Verdict.FAILED
SETTINGS = st.builds(
    Settings,
    limits=limits,
    queue_max=st.sampled_from([1_000, 1, 2]),
    in_flight_max=st.sampled_from([1_000, 1, 3]),
    interval_ms=st.sampled_from([0, 5]),
)


def judge(settings: Settings, log: list[Message]) -> Answer:
    return Oracle(settings.limits, WISHES, ADMITTED).judge(log)


def live(settings: Settings, log: list[Message], draw: st.DataObject) -> World:
    """Go through a log in random steps."""
    world = World(settings)
    for message in log:
        world.publish(message)
    while world.unread:
        steps = ["deliver"] if not world.is_paused else []
        steps += ["finish"] * bool(world.ready()) + ["letters"] * bool(world.letters)
        steps += ["store", "store fails"] * (world.storing is not None)
        if not steps:
            break
        match draw.draw(st.sampled_from(steps)):
            case "deliver":
                world.deliver(draw.draw(st.integers(1, 6)))
            case "finish":
                lane = draw.draw(st.sampled_from(world.ready()))
                world.finish(lane, draw.draw(st.sampled_from([HANDLED, HANDLED, SKIPPED, FAILED])))
            case "letters":
                world.put_letters(draw.draw(st.integers(1, len(world.letters))))
            case "store":
                world.store(ok=True)
            case "store fails":
                world.now_ms += 1
                world.store(ok=False, took_effect=False)
    world.run_out()
    return world


def expected_outcomes(answer: Answer, world: World) -> Counter[str]:
    """What the oracle fixes, and for the others what their processors said."""
    outcomes = Counter(answer.fixed.values())
    verdicts: dict[Spot, set[Verdict]] = {spot: set() for spot in answer.spots() - set(answer.fixed)}
    for done in world.done:
        verdicts[done.spot].add(done.verdict)
    for said in verdicts.values():
        if FAILED in said:
            outcomes["dead_lettered:retries_spent"] += 1
        else:
            outcomes["handled" if HANDLED in said else "stale"] += 1
    return outcomes


def counted_outcomes(world: World) -> Counter[str]:
    counted = world.pipeline.counts.outcomes
    return Counter({":".join(filter(None, key)): count for key, count in counted.items()})


@given(SETTINGS, logs(), st.data())
def test_every_event_ends_as_the_oracle_says(
    settings: Settings, log: list[Message], draw: st.DataObject
) -> None:
    world = live(settings, log, draw)
    answer = judge(settings, log)

    assert len(answer.spots()) == sum(len(message.elements) for message in log)
    assert counted_outcomes(world) == expected_outcomes(answer, world)


@given(SETTINGS, logs(), st.data())
def test_every_processor_is_given_what_it_wants_once_and_in_turn(
    settings: Settings, log: list[Message], draw: st.DataObject
) -> None:
    world = live(settings, log, draw)
    answer = judge(settings, log)

    given_ = {(processor, spot): stale for _, processor, spot, stale in world.given}
    assert len(given_) == len(world.given)
    assert given_ == answer.given
    for index, wish in enumerate(WISHES):
        if wish.in_turn:
            for object_, order in answer.order.items():
                own = [spot for spot in order if (index, spot) in given_]
                dispatched = [
                    spot for _, processor, spot, stale in world.given if processor == index and not stale
                ]
                assert [spot for spot in dispatched if spot in order] == own, object_


@given(SETTINGS, logs(), st.data())
def test_at_the_end_the_checkpoint_is_the_last_message_and_nothing_is_left(
    settings: Settings, log: list[Message], draw: st.DataObject
) -> None:
    world = live(settings, log, draw)

    assert world.pipeline.tracker.checkpoint.sequence_number == (log[-1].number if log else -1)
    assert world.stored_checkpoint == (log[-1].number if log else -1)
    assert world.pipeline.in_flight == world.pipeline.sequencer.held == len(world.pipeline.tracker) == 0
    assert not world.pipeline.has_work
    assert not world.is_paused
    left = world.pipeline.snapshot()
    assert (left.resolved_above(), left.released, left.acks) == ({}, [], [])
    assert decode(encode(left)) == left


@given(limits, logs(), st.data())
def test_the_order_of_release_does_not_depend_on_how_the_log_is_cut(
    limits_: Limits, log: list[Message], draw: st.DataObject
) -> None:
    given_ = []
    for _ in range(2):
        world = World(Settings(limits_))
        for message in log:
            world.publish(message)
        while world.unread:
            world.deliver(draw.draw(st.integers(1, 9)))
        world.run_out()
        given_.append([sorted(one for one in world.given if one[1] == index) for index in range(len(WISHES))])

    assert given_[0] == given_[1]


@pytest.mark.parametrize("in_flight_max", [1, 2, 3])
@pytest.mark.parametrize("span_max", [1, 2, 5])
def test_a_span_that_is_full_of_held_events_does_not_stop_the_reading(
    in_flight_max: int, span_max: int
) -> None:
    settings = Settings(Limits(10**6, span_max=span_max), in_flight_max=in_flight_max)
    world = World(settings)
    for number in range(20):
        world.publish(Message(number, 1_000, (Element(sequencer=f"{number:02}", id=number, data=number),)))

    world.run_out()

    assert world.stored_checkpoint == 19
