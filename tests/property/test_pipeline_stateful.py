"""A pipeline that is killed, revoked, paused and kept waiting still loses nothing and keeps the order.

The machine plays hub, source, lanes and stores, and decides what happens next. What it checks is what
somebody outside sees: the effects, over all lives, against what the oracle says of the whole log.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.core.stimuli import Verdict

from .oracle import Answer, Element, Message, Oracle, Spot
from .strategies import bundles, limits
from .world import ADMITTED, WISHES, Settings, World

SETTINGS = st.builds(
    Settings,
    limits=limits,
    queue_max=st.sampled_from([1_000, 1_000, 1, 3]),
    in_flight_max=st.sampled_from([1_000, 1_000, 1, 2]),
    interval_ms=st.sampled_from([0, 0, 7]),
)
BEHIND_MS = 3
"""How far enqueued times may be behind one another's."""


class Lives(RuleBasedStateMachine):
    world: World

    @initialize(settings=SETTINGS)
    def begin(self, settings: Settings) -> None:
        self.world = World(settings)
        self.checked = 0
        self.graceful_since: int | None = None
        """How many effects there were when everything was stored for the last time."""

    # The hub and the source.

    @rule(
        bundle=bundles(),
        after_ms=st.sampled_from([0, 1, 4, 8]),
        gap=st.sampled_from([1, 1, 1, 2]),
        behind=st.sampled_from([0, 0, 0, BEHIND_MS]),
        and_deliver=st.booleans(),
    )
    def publish(
        self, bundle: tuple[Element, ...], after_ms: int, gap: int, behind: int, and_deliver: bool
    ) -> None:
        world = self.world
        number = world.log[-1].number + gap if world.log else 0
        if not world.unread:  # else what is unread would become older than the margin
            world.now_ms += after_ms
        world.publish(Message(number, world.now_ms - behind, bundle))
        if and_deliver and not world.is_paused:
            world.deliver(9)

    @precondition(lambda self: self.world.unread and not self.world.is_paused)
    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        self.world.deliver(count)
        assert self.world.pipeline.sequencer.held <= self._held_max()

    @precondition(lambda self: self.world.read_to >= 0)
    @rule(count=st.integers(1, 3))
    def deliver_again(self, count: int) -> None:
        self.world.deliver_again(count)

    # Time.

    @rule(by_ms=st.sampled_from([1, 5, 30, 100]))
    def advance(self, by_ms: int) -> None:
        self.world.advance(by_ms)

    @rule()
    def tick(self) -> None:
        self.world.tick()

    # Processors and stores.

    @precondition(lambda self: self.world.ready())
    @rule(
        data=st.data(),
        verdict=st.sampled_from([Verdict.HANDLED, Verdict.SKIPPED, Verdict.FAILED]),
        and_put=st.booleans(),
    )
    def finish(self, data: st.DataObject, verdict: Verdict, and_put: bool) -> None:
        self.world.finish(data.draw(st.sampled_from(self.world.ready())), verdict)
        if and_put and self.world.letters:
            self.world.put_letters(len(self.world.letters))

    @precondition(lambda self: self.world.ready())
    @rule(count=st.integers(1, 5))
    def finish_some(self, count: int) -> None:
        for _ in range(count):
            if self.world.ready():
                self.world.finish(self.world.ready()[-1], Verdict.HANDLED)

    @precondition(lambda self: self.world.letters)
    @rule(count=st.integers(1, 3))
    def put_letters(self, count: int) -> None:
        self.world.put_letters(count)

    @precondition(lambda self: self.world.storing is not None)
    @rule(ok=st.booleans(), took_effect=st.booleans())
    def store(self, ok: bool, took_effect: bool) -> None:
        self.world.store(ok=ok, took_effect=took_effect)

    # Ends and beginnings.

    @precondition(lambda self: self.world.storing is not None or self.world.letters)
    @rule()
    def store_all(self) -> None:
        self.world.settle_stores()

    @precondition(lambda self: self.world.read_to > self.world.started_at)
    @rule(took_effect=st.booleans(), down_ms=st.sampled_from([0, 0, 5, 100]))
    def crash(self, took_effect: bool, down_ms: int) -> None:
        self._check_outcomes(self._judge())
        self.world.crash(took_effect=took_effect)
        self.world.now_ms += down_ms
        self.graceful_since = None

    @precondition(lambda self: self.world.read_to > self.world.started_at)
    @rule()
    def revoke(self) -> None:
        before = len(self.world.done)
        self.world.revoke()
        self._never_again = {
            (done.processor, done.spot)
            for done in self.world.done[:before]
            if done.life == self.world.life - 1
        }
        self.graceful_since = before

    # What holds at any time.

    @invariant()
    def nothing_that_was_stored_by_a_graceful_stop_is_done_again(self) -> None:
        if self.graceful_since is not None:
            again = {(done.processor, done.spot) for done in self.world.done[self.graceful_since :]}
            assert not again & self._never_again

    @invariant()
    def within_one_life_nothing_is_done_twice(self) -> None:
        own = [(processor, spot) for life, processor, spot, _ in self.world.given if life == self.world.life]
        assert len(own) == len(set(own))

    @invariant()
    def a_full_pipeline_is_paused(self) -> None:
        world = self.world
        given = [(processor, doing.ticket) for (processor, _), lane in world.lanes.items() for doing in lane]
        past_sequencer = {ticket for processor, ticket in given if WISHES[processor].in_turn}
        assert world.is_paused or len(past_sequencer) < world.settings.in_flight_max
        for index in range(len(WISHES)):
            own = [ticket for processor, ticket in given if processor == index]
            assert world.is_paused or len(own) < world.settings.queue_max

    @invariant()
    def first_effects_are_in_turn(self) -> None:
        if len(self.world.done) > self.checked:
            self.checked = len(self.world.done)
            self._check_order(self._judge())

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.run_out()
        answer = self._judge()
        self._check_order(answer)
        self._check_outcomes(answer)
        own = {spot for spot in answer.spots() if spot[0] > self.world.started_at} - self.world.started_with
        assert sum(self.world.pipeline.counts.outcomes.values()) == len(own)
        assert self.world.stored_checkpoint == (self.world.log[-1].number if self.world.log else -1)
        assert not any(self.world.lanes.values())
        done = {(done.processor, done.spot) for done in self.world.done}
        assert done == set(answer.given), "something is lost, or was given to somebody who did not want it"
        for one in self.world.done:
            if WISHES[one.processor].in_turn:
                assert one.stale is answer.given[one.processor, one.spot]

    # The oracle.

    def _judge(self) -> Answer:
        return Oracle(self.world.settings.limits, WISHES, ADMITTED).judge(self.world.log)

    def _check_outcomes(self, answer: Answer) -> None:
        """No life finds an outcome more often than the oracle, where no processor has a say."""
        world = self.world
        own = {
            spot: outcome
            for spot, outcome in answer.fixed.items()
            if spot[0] > world.started_at and spot not in world.started_with
        }
        for key, count in world.pipeline.counts.outcomes.items():
            outcome = ":".join(filter(None, key))
            if outcome in ("handled", "stale", "dead_lettered:retries_spent"):
                continue
            assert count <= sum(1 for one in own.values() if one == outcome), outcome

    def _check_order(self, answer: Answer) -> None:
        """First effects of an object, on a processor that wants them in turn, are in the oracle's order."""
        place: dict[Spot, tuple[str, int]] = {
            spot: (object_, index)
            for object_, order in answer.order.items()
            for index, spot in enumerate(order)
        }
        reached: dict[tuple[int, str], int] = {}
        seen: set[tuple[int, Spot]] = set()
        for done in self.world.done:
            if done.stale or not WISHES[done.processor].in_turn or done.verdict is not Verdict.HANDLED:
                continue
            if (done.processor, done.spot) in seen:
                continue
            seen.add((done.processor, done.spot))
            object_, index = place[done.spot]
            assert index > reached.get((done.processor, object_), -1), "an effect out of turn"
            reached[done.processor, object_] = index

    def _held_max(self) -> int:
        world = self.world
        newest = [message for message in world.log if message.number == world.read_to]
        return world.settings.limits.held_max + sum(len(message.elements) for message in newest)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=4 * settings().max_examples)
