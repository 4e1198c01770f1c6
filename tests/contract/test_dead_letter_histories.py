"""Random histories of letters: every kind of store ends up as the one in memory, under every filter."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from harness.letter_hub import LetterHub
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.events import DeadLetter, PartitionId, Position, Reason
from consumer.stores import LetterFilter
from consumer.stores.letter_filter import line_of
from consumer.stores.memory import MemoryDeadLetters
from consumer.stores.sqlite_dead_letters import SqliteDeadLetters

GROUPS = ("$Default", "$default", "audit")
TOPICS = ("/Subscriptions/x", "/subscriptions/X", "/subscriptions/ß")
PATHS = ("", "models/ü", "models/fraud", "m*")

letters = st.builds(
    DeadLetter,
    key=st.sampled_from(["a", "ab", "A", "b"]),
    partition=st.builds(
        PartitionId, st.just("n"), st.sampled_from("hH"), st.sampled_from(GROUPS), st.just("0")
    ),
    position=st.builds(Position, st.just("0"), st.integers(0, 2), st.integers(0, 1)),
    reason=st.sampled_from([Reason.PARKED, Reason.REJECTED]),
    error=st.just("No."),
    original=st.binary(max_size=4),
    enqueued_time_ms=st.just(1),
    dead_lettered_at_ms=st.integers(0, 3),
    processor=st.sampled_from([None, "deploy", "mail"]),
    attempts=st.integers(0, 2),
    event_type=st.sampled_from(["T", "t.x"]),
    topic=st.sampled_from(TOPICS),
    subject=st.sampled_from(["models/ü:1", "s"]),
    object_path=st.sampled_from(PATHS),
    stale=st.booleans(),
)
filters = st.builds(
    LetterFilter,
    processors=st.sampled_from([(), ("deploy",), ("mail", "none")]),
    reasons=st.sampled_from([(), (Reason.PARKED,)]),
    since_ms=st.none() | st.integers(0, 3),
    until_ms=st.none() | st.integers(0, 4),
    key=st.sampled_from(["", "a", "ab"]),
    type=st.sampled_from([None, "T", "t*"]),
    topic=st.sampled_from([None, *TOPICS, "/subs*"]),
    object=st.sampled_from([None, "models/ü", "models/*", "m*"]),
    line=st.none() | letters.map(line_of),
)
steps = st.lists(st.tuples(st.sampled_from(["put", "put", "replace", "remove"]), letters), max_size=8)


async def told(store: Any, history: list[tuple[str, DeadLetter]], where: LetterFilter) -> list[object]:
    """Everything that a store says in the course of a history, and at its end."""
    answers: list[object] = []
    try:
        for do, letter in history:
            if do == "put":
                await store.put([letter])
            elif do == "replace":
                # The age of a letter and where it was found do not change.
                (old,) = [each async for each in store.letters() if same(each, letter)] or [None]
                answers.append(await store.replace(placed(letter, old)) if old else None)
            else:
                answers.append(await store.remove([letter]))
        answers.append([shown(each) async for each in store.letters(where=where)])
        answers.append(await store.count(where))
        answers += [
            await store.holds(PartitionId("n", "h", group, "7"), "deploy", TOPICS[1], path)
            for group in GROUPS[1:]
            for path in PATHS[:2]
        ]
    finally:
        await store.close()
    return answers


def same(one: DeadLetter, other: DeadLetter) -> bool:
    names = [tuple(name.lower() for name in each.partition[:3]) for each in (one, other)]
    return one.key == other.key and names[0] == names[1]


def placed(letter: DeadLetter, old: DeadLetter) -> DeadLetter:
    fields = {name: getattr(letter, name) for name in letter.__struct_fields__}
    kept = ("partition", "position", "enqueued_time_ms", "dead_lettered_at_ms")
    return DeadLetter(**fields | {name: getattr(old, name) for name in kept})


def shown(letter: DeadLetter) -> tuple[object, ...]:
    return tuple(getattr(letter, name) for name in letter.__struct_fields__)


@pytest.mark.parametrize("kind", ["sqlite", "eventhub"])
@settings(max_examples=40, deadline=None)
@given(history=steps, where=filters)
def test_a_store_says_what_the_one_in_memory_says(kind, history, where):
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteDeadLetters(path=Path(folder) / "db") if kind == "sqlite" else LetterHub().open()
        assert asyncio.run(told(store, history, where)) == asyncio.run(
            told(MemoryDeadLetters(), history, where)
        )
