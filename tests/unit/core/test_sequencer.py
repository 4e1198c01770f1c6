"""The sequencer: by examples, and against a model that searches lists from the front."""

from __future__ import annotations

import itertools
from random import Random
from typing import NamedTuple

import pytest
from harness.places import placed
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.sequencer import Held, Sequencer, SequencerLimits
from consumer.events import OrderedBy, OrderToken

SEQUENCER, EVENT_TIME = OrderedBy.SEQUENCER, OrderedBy.EVENT_TIME
BIG = 10**9


class Item(NamedTuple):
    """Something that arrives."""

    number: int
    time_ms: int
    object: str = "x"
    value: str | int = 0
    type: str = "t"
    size: int = 1

    @property
    def token(self) -> OrderToken:
        return OrderToken(SEQUENCER if isinstance(self.value, str) else EVENT_TIME, self.value)


def held_of(item: Item) -> Held:
    """An item in the form in which the sequencer takes it."""
    held = placed(Held(item.number), key(item.object), item.token, item.type)
    held.size = item.size
    return held


def key(name: str) -> bytes:
    return name.encode().ljust(16, b"-")


def run(limits: SequencerLimits, items: list[Item]) -> tuple[list[tuple[int, bool]], Sequencer[Held]]:
    """The numbers of what was released, in order, and whether each was stale."""
    sequencer: Sequencer[Held] = Sequencer(limits)
    out: list[tuple[int, bool]] = []
    watermark = 0
    for item in items:
        watermark = max(watermark, item.time_ms)
        out += named(sequencer.due(watermark, item.number))
        if not sequencer.offer(held_of(item), watermark):
            out.append((item.number, True))
    out += named(sequencer.due_all())
    assert (sequencer.held, sequencer.held_bytes, sequencer.next_due_ms()) == (0, 0, None)
    return out, sequencer


def named(released: list[Held]) -> list[tuple[int, bool]]:
    return [(held.sequence_number, held.is_late) for held in released]


def order_of(window_ms: int, *arrivals: tuple[int, str | int], **limits: int) -> str:
    """What comes out of ``(time, token)`` arrivals: tokens by their place, stale ones in brackets."""
    items = [Item(number, time, value=value) for number, (time, value) in enumerate(arrivals)]
    out, _ = run(SequencerLimits(window_ms, **limits), items)
    return " ".join(
        f"({items[number].value})" if stale else str(items[number].value) for number, stale in out
    )


@pytest.mark.parametrize(
    ("arrivals", "order"),
    [
        ([(0, 1), (1, 2), (2, 3)], "1 2 3"),
        ([(0, 3), (1, 1), (2, 2)], "1 2 3"),
        ([(0, 3), (1, 1), (99, 2)], "1 3 (2)"),
        ([(0, 3), (10, 1)], "3 (1)"),
        ([(0, 3), (9, 1)], "1 3"),
        ([(0, 1), (0, 1)], "1 1"),
        ([(0, "b"), (0, "b")], "b (b)"),
        ([(0, "b"), (99, "b")], "b (b)"),
        ([(0, "b"), (0, "aa"), (0, "a")], "a b aa"),
        ([(0, "b"), (0, 1), (99, "a"), (99, 0)], "b 1 (0) a"),
    ],
)
def test_what_comes_within_the_window_goes_out_in_turn(arrivals, order: str) -> None:
    assert order_of(10, *arrivals) == order


def test_a_window_of_nothing_keeps_the_order_of_arrival_and_says_what_is_stale() -> None:
    assert order_of(0, (0, 2), (1, 1), (1, 3)) == "2 (1) 3"


@pytest.mark.parametrize(
    ("limits", "order"),
    [
        ({"held_max": 10}, "1 2 3 4"),
        ({"held_max": 2}, "2 3 4 (1)"),
        ({"held_max": 1}, "3 4 (2) (1)"),
        ({"held_max": 0}, "4 (3) (2) (1)"),
        ({"held_bytes_max": 2}, "2 3 4 (1)"),
        ({"span_max": 2}, "2 3 4 (1)"),
        ({"span_max": 1}, "3 4 (2) (1)"),
    ],
)
def test_a_limit_shortens_the_window_and_never_stops_it(limits: dict[str, int], order: str) -> None:
    assert order_of(100, (0, 4), (0, 3), (0, 2), (0, 1), **limits) == order


def test_an_equal_point_of_a_count_is_stale_only_for_the_same_type() -> None:
    items = [
        Item(0, 0, value="b", type="t"),
        Item(1, 0, value="b", type="u"),
        Item(2, 0, value="b", type="t"),
    ]

    assert run(SequencerLimits(10), items)[0] == [(0, False), (2, True), (1, False)]


def test_the_last_of_what_waits_is_the_latest() -> None:
    sequencer: Sequencer[Held] = Sequencer(SequencerLimits(10))
    for number, value in enumerate([3, 1, 2]):
        sequencer.offer(held_of(Item(number, 0, value=value)), 0)

    assert [(held.token.value, held.is_latest) for held in sequencer.due_all()] == [
        (1, False),
        (2, False),
        (3, True),
    ]


def test_a_known_later_event_supersedes_an_earlier_one_held_or_released() -> None:
    sequencer: Sequencer[Held] = Sequencer(SequencerLimits(10))
    sequencer.offer(held_of(Item(0, 0, value=5)), 0)

    assert sequencer.is_superseded(held_of(Item(1, 0, value=4)))
    assert not sequencer.is_superseded(held_of(Item(1, 0, value=5)))
    sequencer.due_all()
    assert sequencer.is_superseded(held_of(Item(1, 0, value=4)))
    assert not sequencer.is_superseded(held_of(Item(1, 0, value=4, object="y")))


def test_the_object_that_was_quiet_longest_is_forgotten_first_and_counted() -> None:
    items = [Item(number, number, object=name, value=9) for number, name in enumerate("xyxz")]
    _, sequencer = run(SequencerLimits(0, objects_max=2), items)

    assert [known for known, _ in sequencer.objects()] == [key("x"), key("z")]
    assert sequencer.objects_evicted == 1
    assert sequencer.new_objects == [key("x"), key("y"), key("z")]


def test_objects_expire_by_log_time_and_are_kept_over_a_restart() -> None:
    items = [Item(0, 5, object="x"), Item(1, 8, object="y")]
    _, sequencer = run(SequencerLimits(0), items)
    again: Sequencer[Held] = Sequencer(SequencerLimits(0), sequencer.image())
    assert again.objects() == sequencer.objects()
    again.expire(8)

    assert again.objects() == sequencer.objects()[1:]


def test_a_smaller_cap_forgets_at_once_what_is_too_much() -> None:
    _, sequencer = run(
        SequencerLimits(0), [Item(number, number, object=name) for number, name in enumerate("xyz")]
    )
    again: Sequencer[Held] = Sequencer(SequencerLimits(0, objects_max=1), sequencer.image())

    assert again.objects() == sequencer.objects()[2:]
    assert again.objects_evicted == 2


def test_what_cannot_be_compared_is_counted() -> None:
    items = [Item(0, 0, value="b"), Item(1, 0, value="aa"), Item(2, 0, value=1)]

    assert run(SequencerLimits(0), items)[1].incomparable == 2


# The model.


def lower(one: Item, other: Item) -> bool:
    if isinstance(one.value, str) and isinstance(other.value, str):
        return len(one.value) == len(other.value) and one.value < other.value
    return isinstance(one.value, int) and isinstance(other.value, int) and one.value < other.value


def model(limits: SequencerLimits, items: list[Item]) -> list[tuple[int, bool]]:
    """The same, quadratic: a list of (since, item), and the last that went out of each object."""
    waiting: list[tuple[int, Item]] = []
    last: dict[str, Item] = {}
    out: list[tuple[int, bool]] = []

    def late(item: Item) -> bool:
        before = last.get(item.object)
        same = before is not None and isinstance(item.value, str) and item.value == before.value
        return before is not None and (lower(item, before) or (same and item.type == before.type))

    def release(due: tuple[int, Item]) -> None:
        own = [entry for entry in waiting if entry[1].object == due[1].object]
        going = sorted([one for one in own if lower(one[1], due[1])], key=lambda one: one[1].value)
        for entry in [*going, due]:
            waiting.remove(entry)
            out.append((entry[1].number, late(entry[1])))
            if not late(entry[1]):
                last[entry[1].object] = entry[1]
        for entry in own:
            if entry in waiting and late(entry[1]):
                waiting.remove(entry)
                out.append((entry[1].number, True))

    now = 0
    for item in items:
        now = max(now, item.time_ms)
        while waiting and (
            waiting[0][0] + limits.window_ms <= now
            or len(waiting) > limits.held_max
            or sum(entry[1].size for entry in waiting) > limits.held_bytes_max
            or item.number - waiting[0][1].number > limits.span_max
        ):
            release(waiting[0])
        if late(item):
            out.append((item.number, True))
        else:
            waiting.append((now, item))
    while waiting:
        release(waiting[0])
    return out


some_limits = st.builds(
    SequencerLimits,
    st.sampled_from([0, 2, 5, 20]),
    st.sampled_from([BIG, 4, 2, 1, 0]),
    st.sampled_from([BIG, 6, 2]),
    st.sampled_from([BIG, 5, 2]),
)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Item]:
    values = st.one_of(st.sampled_from(["1", "2", "3", "01", "02"]), st.integers(0, 4))
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(1, 2), st.integers(-2, 4), st.sampled_from("xxy"), values, st.sampled_from("tu")
            )
        )
    )
    numbers = itertools.accumulate(gap for gap, *_ in drawn)
    times = itertools.accumulate(step for _, step, *_ in drawn)
    sizes = itertools.cycle([1, 1, 3])
    return [
        Item(number, time, object_, value, type_, size)
        for number, time, size, (_, _, object_, value, type_) in zip(
            numbers, times, sizes, drawn, strict=False
        )
    ]


@given(some_limits, arrivals())
def test_it_releases_what_the_model_releases(limits: SequencerLimits, items: list[Item]) -> None:
    assert run(limits, items)[0] == model(limits, items)


@given(some_limits, arrivals())
def test_everything_comes_out_once_and_nothing_in_turn_goes_back(
    limits: SequencerLimits, items: list[Item]
) -> None:
    out, _ = run(limits, items)

    assert sorted(number for number, _ in out) == [item.number for item in items]
    by_number = {item.number: item for item in items}
    for object_ in "xy":
        fresh = [by_number[number] for number, stale in out if not stale]
        own = [item for item in fresh if item.object == object_]
        assert not any(lower(after, before) for before, after in itertools.pairwise(own))


@given(some_limits, arrivals(), st.data())
def test_what_is_held_is_never_stale(limits: SequencerLimits, items: list[Item], data: st.DataObject) -> None:
    """So a restart may offer it again."""
    sequencer: Sequencer[Held] = Sequencer(limits)
    held: dict[int, Held] = {}
    watermark = 0
    for item in items:
        watermark = max(watermark, item.time_ms)
        for release in sequencer.due(watermark, item.number):
            del held[release.sequence_number]
        offered = held_of(item)
        if sequencer.offer(offered, watermark):
            held[item.number] = offered
        assert sequencer.held == len(held) <= limits.held_max + 1
        assert sequencer.held_bytes == sum(one.size for one in held.values())
        for one in held.values():
            assert not sequencer.is_stale(one)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limits", [{}, {"held_max": 90}, {"held_bytes_max": 80}, {"span_max": 70}])
def test_a_long_log_of_which_much_is_held_goes_as_the_model_says(seed: int, limits: dict[str, int]) -> None:
    rng, items, now = Random(seed), [], 0
    for number in range(1_000):
        now += rng.choice((0, 0, 1, 2, 3) if number % 400 else (1_000,))  # sometimes all that is held is due
        value = now + rng.randint(-40, 40) if rng.random() < 0.9 else f"{rng.randint(0, 9)}"
        items.append(Item(number, now, f"{rng.randint(0, 30)}", value, rng.choice("tu")))
    limited = SequencerLimits(150, **limits)
    released, sequencer = run(limited, items)

    assert released == model(limited, items)
    assert sequencer.released_early > 0 or not limits
