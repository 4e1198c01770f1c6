"""Small logs: few objects, few tokens, so that whatever can meet does meet."""

from __future__ import annotations

from hypothesis import strategies as st

from .oracle import Element, Limits, Message

SEQUENCERS = st.sampled_from(["01", "02", "03", "0A", "0b", "001"])
"""Of two lengths and with two cases; those of different length cannot be compared."""


@st.composite
def elements(draw: st.DrawFn) -> Element:
    what = draw(st.sampled_from(["event"] * 12 + ["foreign", "poison", "junk"]))
    if what != "event":
        return Element(what=what)
    sequencer = draw(st.one_of(SEQUENCERS, st.none()))
    return Element(
        draw(st.sampled_from(["x", "x", "x", "y"])),
        draw(st.sampled_from("AAAABBCDE")),
        None if sequencer is None else sequencer.casefold(),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 6)),
        draw(st.sampled_from([0, 0, 0, 1, 2])),
    )


def bundles() -> st.SearchStrategy[tuple[Element, ...]]:
    """What one message holds: mostly one event."""
    single = elements().map(lambda element: (element,))
    return st.one_of(single, single, st.lists(elements(), max_size=3).map(tuple))


@st.composite
def logs(draw: st.DrawFn, *, most: int = 25) -> list[Message]:
    """A log whose enqueued times mostly rise and whose numbers have gaps."""
    number, time_ms, log = -1, 1_000, []
    for elements_ in draw(st.lists(bundles(), max_size=most)):
        number += draw(st.sampled_from([1, 1, 1, 1, 3]))
        time_ms += draw(st.sampled_from([0, 0, 1, 2, 5, 12, -3]))
        log.append(Message(number, time_ms, elements_))
    return log


limits = st.builds(
    Limits,
    window_ms=st.sampled_from([0, 3, 10, 10, 40]),
    held_max=st.sampled_from([10**6, 10**6, 3, 1]),
    held_bytes_max=st.sampled_from([10**9, 10**9, 900, 300]),
    span_max=st.sampled_from([10**6, 10**6, 5, 2]),
)
