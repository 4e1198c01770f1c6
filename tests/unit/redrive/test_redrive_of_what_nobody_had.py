"""Letters without a processor, without an object, and of what is emitted in a redrive; and dry runs."""

from __future__ import annotations

import pytest
from harness.letters import TOPIC, TYPE, Target, body, letter, undecoded

from consumer.core.catalogue import Catalogue
from consumer.events import Event, Reason
from consumer.redrive.lettered import event_of

# What no processor had.


async def test_what_is_an_event_by_todays_rules_goes_to_all_who_want_it(bench):
    bench.targets |= {"mail": Target(), "other": Target()}
    bench.plans = {"other": {"types": ("Microsoft.Storage.*",)}, "mail": {"matches": lambda event: True}}
    await bench.put(undecoded(body("fraud", 1)))

    report = await bench.run()

    assert [bench.targets[name].ids for name in ("deploy", "mail", "other")] == [["fraud-1"], ["fraud-1"], []]
    assert await bench.keys() == []
    assert not report.has_findings


async def test_where_one_of_them_fails_only_its_letter_stays(bench):
    bench.targets["mail"] = Target()
    bench.deploy.broken = {"fraud-1"}
    await bench.put(undecoded(body("fraud", 1)))

    await bench.run()

    (kept,) = await bench.kept()
    assert (kept.processor, kept.reason, kept.object_path) == ("deploy", Reason.RETRIES_SPENT, "models/fraud")
    assert (kept.event_id, kept.topic, kept.attempts) == ("fraud-1", TOPIC, 2)
    bench.deploy.broken.clear()
    await bench.run()
    assert (bench.deploy.ids, bench.targets["mail"].ids) == (["fraud-1"], ["fraud-1"])


async def test_it_takes_its_place_behind_what_its_object_has_in_the_dead_letters(bench):
    await bench.put(letter("fraud", 1), letter("fraud", 2))
    await bench.put(undecoded(body("fraud", 3), dead_lettered_at_ms=9_000))
    bench.deploy.broken = {"fraud-2"}

    await bench.run()

    assert bench.deploy.ids == ["fraud-1"]
    assert [each.event_id for each in await bench.kept()] == ["fraud-2", "fraud-3"]


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (b"not JSON", Reason.INVALID_JSON),
        (body("fraud", 1, subject=None), Reason.MISSING_FIELD),
        (body("fraud", 1, eventType="Microsoft.Storage.BlobCreated"), Reason.SPOOFED_TYPE),
    ],
)
async def test_what_is_no_event_of_ours_today_either_stays_with_the_reason_of_today(bench, original, reason):
    await bench.put(undecoded(original))

    report = await bench.run()

    (kept,) = await bench.kept()
    assert (kept.reason, kept.original, kept.key) == (reason, original, "raw")
    assert (report.refused, bench.deploy.attempts) == (1, 0)


async def test_what_nobody_wants_stays(bench):
    bench.plans["deploy"] = {"types": ("Microsoft.Storage.*",)}
    await bench.put(undecoded(body("fraud", 1)))

    await bench.run()

    (kept,) = await bench.kept()
    assert (kept.reason, kept.error) == (Reason.TYPE, "no processor wants the event")


async def test_of_a_body_that_was_refused_as_a_whole_every_event_goes_its_own_way(bench):
    whole = b"[" + b",".join([body("fraud", 1), b'{"eventType": "Mine.Made"}', body("churn", 1)]) + b"]"
    await bench.put(undecoded(whole, reason=Reason.TOO_MANY_ELEMENTS))

    await bench.run()

    assert sorted(bench.deploy.ids) == ["churn-1", "fraud-1"]
    (kept,) = await bench.kept()
    assert (kept.reason, kept.original, kept.position.index) == (
        Reason.MISSING_FIELD,
        b'{"eventType": "Mine.Made"}',
        1,
    )


async def test_an_empty_body_is_done(bench):
    await bench.put(undecoded(b"[]"))

    report = await bench.run()

    assert (await bench.keys(), report.empty) == ([], 1)


async def test_a_letter_of_before_is_run_in_the_line_of_its_object(bench):
    await bench.put(letter("fraud", 1, object_path="", reason=Reason.RETRIES_SPENT), letter("fraud", 2))
    bench.deploy.broken = {"fraud-1"}

    await bench.run()

    first, second = await bench.kept()
    assert (first.key, first.object_path, first.attempts) == ("fraud-1", "models/fraud", 7)
    assert second.key == "fraud-2"
    assert bench.deploy.ids == []


# What is emitted.


class Emitting(Target):
    async def __call__(self, event: Event, context) -> None:
        await super().__call__(event, context)
        if not event.type.startswith("Inturn."):
            context.emit("Inturn.ModelDeployed", event.subject, {"version": event.field("modelVersion")})


async def test_what_a_processor_emits_goes_to_those_who_name_the_type(bench):
    bench.targets |= {"deploy": Emitting(), "mail": Target(), "all": Target()}
    bench.plans["mail"] = {"types": ("Microsoft.Storage.*",), "internal_types": ("Inturn.*",)}
    await bench.put(letter("fraud", 1), letter("fraud", 2))

    report = await bench.run()

    mails = bench.targets["mail"].events
    assert [(each.type, each.subject) for each in mails] == [
        ("Inturn.ModelDeployed", "models/fraud:1"),
        ("Inturn.ModelDeployed", "models/fraud:2"),
    ]
    assert [each.field("version") for each in mails] == [1, 2]
    assert bench.targets["all"].ids == []
    assert (await bench.keys(), report.done) == ([], 4)


async def test_what_was_emitted_and_failed_stays_and_is_redriven_with_its_key(bench):
    bench.targets |= {"deploy": Emitting(), "mail": Target()}
    bench.plans["mail"] = {"types": (), "internal_types": ("Inturn.*",)}
    keys = []

    async def fail(event: Event) -> None:
        keys.append(event.id)
        raise RuntimeError("no mail today")

    bench.targets["mail"].before = fail
    await bench.put(letter("fraud", 1))
    await bench.run()

    (kept,) = await bench.kept()
    assert (kept.processor, kept.event_type, kept.reason) == (
        "mail",
        "Inturn.ModelDeployed",
        Reason.RETRIES_SPENT,
    )
    bench.targets["mail"].before = None
    await bench.run()
    assert bench.targets["mail"].ids == keys[:1]
    assert bench.deploy.ids == ["fraud-1"]


async def test_what_is_emitted_in_a_redrive_has_the_id_that_it_has_live(bench):
    from consumer.core.internal_events import body_of, cause_of

    bench.targets |= {"deploy": Emitting(), "mail": Target()}
    bench.plans["mail"] = {"types": (), "internal_types": ("Inturn.*",)}
    given = letter("fraud", 1)
    await bench.put(given)
    await bench.run()

    cause = event_of(given, Catalogue([]))
    assert isinstance(cause, Event)
    live = body_of(cause_of(cause), "deploy 1", "Inturn.ModelDeployed", "models/fraud:1", {"version": 1})
    assert bench.targets["mail"].events[0].original == live


# Dry run.


async def test_a_dry_run_says_what_would_be_done_in_order_and_does_nothing(bench):
    bench.plans["deploy"] = {"types": (TYPE,)}
    await bench.put(letter("fraud", 2), letter("fraud", 1), undecoded(b"not JSON", key="junk"))
    before = await bench.kept()

    proposals = await bench.rehearse()

    assert [(each.letter.key, each.what.partition(": not JSON")[0]) for each in proposals] == [
        ("junk", "would stay: invalid_json"),
        ("fraud-1", "would be run"),
        ("fraud-2", "would be run"),
    ]
    assert bench.deploy.attempts == 0
    assert await bench.kept() == before


async def test_a_dry_run_asks_processors_what_they_would_do(bench):
    class Telling(Target):
        def preview(self, event: Event, context) -> dict | None:
            if event.id == "fraud-2":
                return None
            return {"deploys": event.field("modelName"), "key": context.idempotency_key}

    bench.targets["deploy"] = Telling()
    await bench.put(letter("fraud", 1), letter("fraud", 2))

    first, second = await bench.rehearse()
    await bench.run()

    assert first.effect == {"deploys": "fraud", "key": bench.deploy.handled[0][1]}
    assert (second.what, second.effect) == ("would do nothing", None)
