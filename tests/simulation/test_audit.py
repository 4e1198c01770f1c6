"""Whoever watches a simulated run complains of what is wrong, and not of what a frozen process may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import orjson
import pytest
from property.oracle import Element, Message, Wish
from simulation.audit import REPORT_S, Audit
from simulation.records import LIFE, Life, Place
from simulation.telling import DONE, EMITTER, Telling
from simulation.trace import EPOCH_MS, PartitionTrace, judge

from consumer.core.snapshot import KeptEvent, Progress, new_snapshot
from consumer.events import Checkpoint, Event, OrderedBy, Schema
from consumer.runtime.lease import FENCE_AFTER_S

PLACE = Place("0", 0, 0)
FROZEN_AT_S, THAWED_AT_S = 10.0, 50.0


@dataclass
class Scene:
    """One event of one partition, and whoever owns it after each other."""

    now_s: float = 0.0

    def __post_init__(self) -> None:
        trace = {"0": PartitionTrace([Message(0, EPOCH_MS, (Element(),))], [0.0])}
        wishes = [Wish("A")]
        self.audit = Audit(lambda: self.now_s, judge(trace, wishes), wishes, [EMITTER])  # type: ignore[arg-type]
        self.telling = Telling(self.audit, trace)

    def own(self, owner: str, **begun: object) -> Life:
        """Let an owner begin with a state in which nothing is done, but for what is said."""
        snapshot = msgspec.structs.replace(
            new_snapshot(Checkpoint(-1, "-1"), owner), epoch=len(self.audit.lives) + 1, **begun
        )
        self.audit.stored["0"] = snapshot
        return self.audit.began("0", owner, snapshot)

    def handle(self, life: Life) -> None:
        """Let an owner have the effect of the event."""
        with _as(life):
            self.audit.acked([self.audit.effect(0, PLACE, stale=False, key="key", began_s=0.0)])

    def tell(self, life: Life, began_s: float = 0.0) -> None:
        """Let an owner tell that the event was handled."""
        with _as(life):
            self.telling.told(_DONE, "key", began_s).is_acked = True

    def complaints(self) -> list[str]:
        return [violation.kind for violation in self.audit.violations]


@contextmanager
def _as(life: Life) -> Iterator[None]:
    token = LIFE.set(life)
    try:
        yield
    finally:
        LIFE.reset(token)


_DONE = Event(
    id="id",
    type=DONE,
    topic="",
    subject="",
    schema=Schema.CLOUD_EVENTS,
    ticks=None,
    enqueued_time_ms=EPOCH_MS,
    partition=PLACE.partition,
    sequence_number=PLACE.number,
    index=PLACE.index,
    object_key=b"",
    object_topic="",
    object_path="",
    ordered_by=OrderedBy.ARRIVAL,
    order_value=0,
    body=orjson.dumps({"type": DONE}),
    is_wrapped=False,
    content=None,
)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("is_frozen", "awake_s", "complaints"),
    [(True, 0.0, []), (True, REPORT_S + 1, ["repeated"]), (False, 0.0, ["repeated"])],
    ids=["frozen before it could report", "awake long enough after it", "never frozen"],
)
def test_what_was_done_must_be_stored_once_its_process_has_had_the_time(
    scene: Scene, *, is_frozen: bool, awake_s: float, complaints: list[str]
) -> None:
    old = scene.own("old")
    scene.now_s = FROZEN_AT_S
    scene.handle(old)
    scene.now_s = THAWED_AT_S
    if is_frozen:
        scene.audit.thawed("old", FROZEN_AT_S)
    old.durable_s = scene.now_s = THAWED_AT_S + awake_s

    scene.handle(scene.own("new"))

    assert scene.complaints() == complaints


def test_an_old_owner_may_end_what_it_had_begun_after_the_new_one_has_told_it_and_drained(
    scene: Scene,
) -> None:
    old, new = scene.own("old"), scene.own("new")
    scene.handle(old)
    scene.tell(new)
    new.is_clean = True

    scene.tell(old)

    assert scene.complaints() == []


def test_an_old_owner_begins_to_tell_nothing_when_its_lease_is_over(scene: Scene) -> None:
    old = scene.own("old")
    scene.handle(old)
    old.fenced_s = 1.0

    scene.tell(old, began_s=old.fenced_s + FENCE_AFTER_S + 1)

    assert scene.complaints() == ["lease"]


def test_nobody_tells_again_what_was_told_before_a_drain(scene: Scene) -> None:
    old = scene.own("old")
    scene.handle(old)
    scene.tell(old)
    old.is_clean = True

    scene.tell(scene.own("new"))

    assert scene.complaints() == ["repeated"]


def _kept() -> KeptEvent:
    return KeptEvent(Progress(*PLACE.spot, [], False, False, None), PLACE.partition, EPOCH_MS, _DONE.body)


@pytest.mark.parametrize(
    ("internal", "complaints"), [([_kept()], []), ([], ["repeated"])], ids=["somebody waits", "nobody waits"]
)
def test_what_a_state_says_was_told_is_not_told_by_whoever_begins_with_it(
    scene: Scene, internal: list[KeptEvent], complaints: list[str]
) -> None:
    scene.handle(scene.own("old"))

    scene.tell(scene.own("new", done_above={PLACE.number: [PLACE.index]}, internal=internal))

    assert scene.complaints() == complaints
