"""Whether a world's books are right once its workers have stopped: dead letters and checkpoints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from consumer.config_file import load_settings
from consumer.events import Outcome, Position, Reason
from consumer.opening import open_checkpoints, open_dead_letters
from consumer.samples.truth import Truth

if TYPE_CHECKING:
    from harness.worlds import World

_LETTERS_MAX = 1_000_000


async def discrepancies(world: World, truth: Truth) -> list[str]:
    """What is missing or too much: every dead letter once, every checkpoint at the end of its partition.

    A checkpoint at the end says that its owner knew an outcome of every event.
    """
    settings = load_settings(world.folder / "inturn.yaml", {})
    async with open_dead_letters(settings.dead_letters) as store:
        kept = Counter([(each.position, each.reason) async for each in store.letters(limit=_LETTERS_MAX)])
    async with open_checkpoints(settings.state) as store:
        stored = {name.partition: checkpoint for name, checkpoint in await store.partitions()}
    due: Counter[tuple[Position, Reason | None]] = Counter(
        (position, end.reason) for position, end in truth.ends.items() if end.outcome is Outcome.DEAD_LETTERED
    )
    ends = {partition: log[-1].sequence_number for partition, log in world.logs().items() if log}
    missing, excess = (due - kept).elements(), (kept - due).elements()
    return [
        *(f"no dead letter: {position} {reason}" for position, reason in missing),
        *(f"not to be a dead letter: {position} {reason}" for position, reason in excess),
        *(
            f"partition {partition} ends at {end}, its checkpoint is {stored.get(partition)}"
            for partition, end in ends.items()
            if partition not in stored or stored[partition].sequence_number != end
        ),
    ]
