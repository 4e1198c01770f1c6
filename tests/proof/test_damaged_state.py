"""Whatever byte of a state is damaged, wherever it is cut: it is noticed, and nothing begins afresh."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import structlog

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.core.effects import Dispatch
from consumer.core.flights import ProcessorPlan
from consumer.core.pipeline import Pipeline
from consumer.core.policy import PipelinePolicy
from consumer.core.sequencer import SequencerLimits
from consumer.core.snapshot import decode, encode, new_snapshot
from consumer.core.stimuli import Ended, Received, Resolved, Result, Verdict
from consumer.errors import CorruptState
from consumer.events import NOTHING_DONE, Checkpoint, PartitionId, RawBatch
from consumer.runtime.assignment import take_over
from consumer.stores import CopyKind
from consumer.stores.memory import MemoryStore

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$Default", "0")
POLICY = PipelinePolicy(
    SequencerLimits(window_ms=0, held_max=100, held_bytes_max=1 << 20, span_max=100, objects_max=100),
    owner="tester",
)
GOLDEN = sorted((Path(__file__).parents[1] / "unit" / "core" / "golden").glob("snapshot-*.bin"))
BEFORE = Checkpoint(0, "0")
"""Where the kept state is: before whatever is damaged, and not where a fresh start would be."""


def lived_through(events: int, done: int) -> bytes:
    """The state of a partition that is done with its first events, and with every other one behind."""
    pipeline = Pipeline(
        POLICY, [ProcessorPlan("keep")], Admission(None, None), Catalogue(), new_snapshot(NOTHING_DONE, "")
    )
    elements = [
        {
            "id": f"id-{number}",
            "topic": "/subscriptions/s",
            "subject": f"models/m{number}",
            "eventType": "Mine.Made",
            "eventTime": "2026-01-01T00:00:00Z",
            "data": {"number": number},
            "dataVersion": "1",
        }
        for number in range(events)
    ]
    numbers = list(range(events))
    batch = RawBatch(
        partition="0",
        bodies=[json.dumps([element]).encode() for element in elements],
        sequence_numbers=numbers,
        offsets=[str(number * 100) for number in numbers],
        enqueued_times_ms=[1_000_000 + number for number in numbers],
        partition_keys=["key"] * events,
        properties_at=lambda _: {},
    )
    effects = [*pipeline.handle(Received(batch, 2_000_000)), *pipeline.handle(Ended())]
    tickets = [ticket for each in effects if isinstance(each, Dispatch) for ticket in each.tickets]
    handled = [Result(ticket, 0, Verdict.HANDLED) for ticket in (*tickets[:done], *tickets[done + 1 :: 2])]
    pipeline.handle(Resolved(handled))
    return encode(pipeline.snapshot())


def damages(body: bytes, flips: int, dice: random.Random) -> Iterator[tuple[str, bytes]]:
    """Every byte with some bits flipped, every shorter beginning, and bytes that are too many or zero."""
    for at in range(len(body)):
        for bit in dice.sample(range(8), flips):
            yield f"bit {bit} of byte {at}", body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
        yield f"cut at {at}", body[:at]
    yield "a byte too many", body + b"\0"
    yield "twice", body + body
    yield "zeros", bytes(len(body))


async def test_every_flipped_bit_and_every_cut_is_noticed_and_nothing_begins_afresh(figure, effort, seed):
    dice = random.Random(seed)
    flips = effort.pick(short=1, full=8, deep=8)
    kept = encode(new_snapshot(BEFORE, "kept"))
    tally: Counter[str] = Counter()
    missed: list[str] = []
    for body in [*(path.read_bytes() for path in GOLDEN), lived_through(12, 4)]:
        checkpoint = decode(body).checkpoint
        assert checkpoint.sequence_number >= BEFORE.sequence_number
        for what, damaged in damages(body, flips, dice):
            tally["cases"] += 1
            outcome = await outcomes(checkpoint, damaged, kept)
            tally.update(outcome)
            if outcome["noticed"] < 2:
                missed.append(what)

    figure("damage-cases", tally["cases"], "states", ">=", 500)
    figure("damage-noticed", 100 * tally["noticed"] / (2 * tally["cases"]), "%", "==", 100)
    figure("damage-fresh-starts", tally["afresh"], "starts", "==", 0)
    figure("damage-evidence-lost", tally["lost"], "states", "==", 0)
    assert missed == [], f"replay with --effort {effort} --seed {seed}"


async def outcomes(checkpoint: Checkpoint, damaged: bytes, kept: bytes) -> Counter[str]:
    """What comes of a damaged state, once with a kept one beside it and once without."""
    tally: Counter[str] = Counter()
    for has_kept in (True, False):
        store = MemoryStore()
        if has_kept:
            await store.keep(PARTITION, BEFORE, kept, CopyKind.GOOD)
        await store.save(PARTITION, checkpoint, damaged, "")
        before = await store.load(PARTITION)
        with structlog.testing.capture_logs() as logs:
            try:
                taken = await take_over(store, PARTITION, NOTHING_DONE, POLICY)
            except CorruptState:
                tally["noticed"] += 1
                tally["lost"] += await store.load(PARTITION) != before
                continue
        told = [each for each in logs if each["log_level"] == "error"]
        went_back = has_kept and taken.snapshot.checkpoint == BEFORE and len(told) == 1
        tally["noticed"] += went_back
        tally["afresh"] += not went_back
        evidence = [copy for copy in await store.kept(PARTITION) if copy.kind is CopyKind.DAMAGED]
        tally["lost"] += [copy.snapshot for copy in evidence] != [damaged]
    return tally
