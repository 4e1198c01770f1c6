"""Letters are redriven by their time and position: these say in which order they were put aside."""

from __future__ import annotations

import msgspec
from harness.letters import letter
from structlog.testing import capture_logs

from consumer.core.catalogue import Catalogue
from consumer.core.effects import Letter
from consumer.events import Position, Reason
from consumer.redrive.lettered import event_of
from consumer.runtime.clock import SystemClock
from consumer.runtime.writers import DeadLetterWriter
from consumer.stores.memory import MemoryDeadLetters


class Frozen(SystemClock):
    def now_ms(self):
        return 1_700_000_000_000


class Minutes(SystemClock):
    minutes = 1

    def monotonic_s(self):
        return self.minutes * 60.0


async def test_of_one_moment_the_later_letter_of_an_object_is_redriven_later():
    # A version that came late was released before one that stands before it; internal events share a place.
    store = MemoryDeadLetters()
    writer = DeadLetterWriter(store, letter("fraud", 1).partition, ["deploy"], Frozen())

    async def may_write():
        pass

    for version, number in ((1, 5), (2, 3), (3, 3), (4, 4)):
        kept = letter("fraud", version)
        kept = msgspec.structs.replace(kept, position=Position("0", number, 0))
        event = event_of(kept, Catalogue())
        await writer.write([Letter(None, 0, event, Reason.REJECTED, "", 1)], may_write)

    assert [each.event_id async for each in store.letters()] == [f"fraud-{n}" for n in (1, 2, 3, 4)]


async def test_what_is_put_aside_is_said_in_a_line_a_minute_for_each_reason_and_not_for_each_event():
    clock = Minutes()
    writer = DeadLetterWriter(MemoryDeadLetters(), letter("fraud", 1).partition, ["deploy"], clock)
    events = [event_of(letter("fraud", version), Catalogue()) for version in (1, 2, 3)]
    reasons = (Reason.REJECTED, Reason.PARKED, Reason.PARKED)

    async def may_write():
        pass

    with capture_logs() as lines:
        letters = [
            Letter(None, 0, event, reason, "why", 1) for event, reason in zip(events, reasons, strict=True)
        ]
        await writer.write(letters, may_write)
        await writer.write(letters, may_write)
        clock.minutes += 1
        await writer.write(letters[:1], may_write)

    assert [(line["log_level"], line["reason"], line["letters"]) for line in lines] == [
        ("warning", "rejected", 1),
        ("warning", "parked", 2),
        ("warning", "rejected", 2),
    ]
    assert {line["processor"] for line in lines} == {"deploy"}
