"""Two oracles that share nothing agree: the one of these tests, and the one that samples are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from consumer.samples.truth import Rules, reckon

from .oracle import TOPIC, TYPES, Limits, Message, Oracle, Wish
from .strategies import logs


class Entry(NamedTuple):
    sequence_number: int
    enqueued_time_ms: int
    body: bytes
    application_properties: Mapping[str, str]


@given(logs(), st.sampled_from([0, 3, 10, 40]))
def test_the_oracles_agree(log: list[Message], window_ms: int) -> None:
    # Where enqueued times fall, only the core's rule is fixed; of types that share a point of a count too.
    times = sorted(message.time_ms for message in log)
    log = [
        Message(
            message.number,
            time_ms,
            tuple(element._replace(type="C" if element.type == "C" else "A") for element in message.elements),
        )
        for message, time_ms in zip(log, times, strict=True)
    ]
    answer = Oracle(Limits(window_ms), [Wish("A")], "A").judge(log)
    entries = [Entry(message.number, message.time_ms, message.body, {}) for message in log]
    truth = reckon(Rules([TOPIC], [TYPES["A"]], window_ms), {"0": entries})

    expected = dict(answer.fixed)
    expected |= {spot: "handled" for _, spot in answer.given} | {spot: "stale" for _, spot in answer.skipped}
    assert {(at.sequence_number, at.index): str(end) for at, end in truth.ends.items()} == expected
    handled = {
        spot.path: [(at.sequence_number, at.index) for at in positions]
        for spot, positions in truth.handled.items()
    }
    assert handled == answer.order
