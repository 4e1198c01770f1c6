"""The real pipeline and the real runner, with somebody looking over their shoulders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from simulation.audit import Audit
from simulation.loop import SimLoop
from simulation.records import LIFE, Life

from consumer.core.effects import Effect, StoreCheckpoint
from consumer.core.pipeline import Pipeline
from consumer.core.snapshot import Snapshot
from consumer.core.stimuli import Stimulus
from consumer.runtime import engine as engine_module
from consumer.runtime.partition import PartitionRunner

_LOOK_EVERY = 16
"""One of so many snapshots is compared with what was counted."""


class Limits(NamedTuple):
    """How much a pipeline may have in memory, in events."""

    in_flight_max: int
    slack: int
    """What one batch may add."""


@contextmanager
def watching(audit: Audit, loop: SimLoop, limits: Limits) -> Iterator[None]:
    """Let engines use watched pipelines and runners."""

    class WatchedPipeline(Pipeline):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.begun: Snapshot = args[-1]
            self.life: Life | None = None
            self._asked = 0

        def handle(self, stimulus: Stimulus) -> list[Effect]:
            life = self.life
            assert life is not None, "a pipeline without a life"
            effects = super().handle(stimulus)
            for effect in effects:
                if isinstance(effect, StoreCheckpoint):
                    life.last_made_s = audit.now_s()
                    self._asked += 1
                    if self._asked % _LOOK_EVERY == 1:
                        audit.check_counts(life, self, effect.snapshot)
            working = self.in_flight - len(self.internal) - self.sequencer.held - self._released.waiting
            if working > limits.in_flight_max + limits.slack:
                audit.complain("limit", f"{working} events in flight")
            return effects

    class WatchedRunner(PartitionRunner):
        def __init__(self, partition: str, pipeline: Any, *args: Any, **named: Any) -> None:
            super().__init__(partition, pipeline, *args, **named)
            self.life = audit.began(partition, loop.current_owner().name, pipeline.begun)
            pipeline.life = self.life
            # Every task of the runner is a copy of this context, so each knows whose work it does.
            LIFE.set(self.life)

        async def drain(self, timeout_s: float) -> bool:
            self.life.is_clean = await super().drain(timeout_s)
            if self.life.is_clean:
                audit.check_counts(self.life, self.pipeline, self.pipeline.snapshot())
            return self.life.is_clean

    originals = engine_module.Pipeline, engine_module.PartitionRunner
    engine_module.Pipeline = WatchedPipeline  # type: ignore[misc]
    engine_module.PartitionRunner = WatchedRunner  # type: ignore[misc]
    try:
        yield
    finally:
        engine_module.Pipeline, engine_module.PartitionRunner = originals  # type: ignore[misc]
