"""What every dead-letter store promises, whatever it is made of."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from consumer.events import DeadLetter, PartitionId, Position, Reason
from consumer.stores import LetterFilter
from consumer.stores.letter_filter import line_of

PARTITION = PartitionId("contoso.servicebus.windows.net", "Models", "$Default", "0")


def letter(key: str = "key", at_ms: int = 1_700_000_000_000, sequence_number: int = 7, **other) -> DeadLetter:
    fields = {
        "key": key,
        "partition": PARTITION,
        "position": Position("0", sequence_number, 0),
        "reason": Reason.RETRIES_SPENT,
        "error": "The receiver answered 500.",
        "original": b'{"id": "1"}',
        "enqueued_time_ms": 1_699_999_999_000,
        "dead_lettered_at_ms": at_ms,
        "processor": "deploy",
        "attempts": 5,
        "event_id": "1",
        "event_type": "Microsoft.MachineLearningServices.ModelRegistered",
        "topic": "/subscriptions/x/workspaces/y",
        "subject": "models/Größe:3",
        "object_path": "models/Größe",
        "partition_key": "models/Größe",
    }
    return DeadLetter(**{**fields, **other})


async def kept(store, **options) -> list[DeadLetter]:
    return [found async for found in store.letters(**options)]


async def test_a_letter_comes_back_as_it_was(open_dead_letters):
    await open_dead_letters().put([letter()])
    assert await kept(open_dead_letters()) == [letter()]


async def test_an_empty_store_has_no_letters(open_dead_letters):
    store = open_dead_letters()
    assert (await kept(store), await store.count()) == ([], 0)
    await store.put([])
    assert await store.count() == 0


@pytest.mark.parametrize("original", [b"", b"\x00\xff\xfe{", "Ümläut".encode(), b"x" * 1_048_576])
async def test_the_original_bytes_are_kept_whatever_they_are(open_dead_letters, original):
    store = open_dead_letters()
    await store.put([letter(original=original, processor=None)])
    assert [found.original for found in await kept(store)] == [original]


async def test_a_letter_put_again_changes_nothing(open_dead_letters):
    first, second = open_dead_letters(), open_dead_letters()
    await first.put([letter()])
    await second.put([letter(error="Another text.", at_ms=1), letter("new")])
    assert await kept(first) == [letter(), letter("new")]
    assert await first.count() == 2


async def test_a_letter_twice_in_one_call_is_one_letter(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter(), letter()])
    assert await store.count() == 1


async def test_one_key_in_two_consumer_groups_is_two_letters(open_dead_letters):
    store = open_dead_letters()
    other = letter(partition=PARTITION._replace(group="other"))
    await store.put([letter(), other])
    assert sorted(found.partition.group for found in await kept(store)) == ["$Default", "other"]


async def test_keys_that_differ_only_in_case_are_two_letters(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter("Ab"), letter("aB")])
    assert await store.count() == 2


async def test_letters_are_listed_oldest_first_and_within_a_moment_as_they_came(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter("d", 3), letter("a", 2, 20), letter("c", 2, 9), letter("b", 1)])
    assert [found.key for found in await kept(store)] == ["b", "c", "a", "d"]


@pytest.mark.parametrize("limit", [0, 1, 3, 130, 500])
async def test_a_listing_stops_at_its_limit_and_begins_with_the_oldest(open_dead_letters, limit):
    store = open_dead_letters()
    await store.put([letter(f"{number:03}", 1_000 + number) for number in reversed(range(220))])
    expected = [f"{number:03}" for number in range(min(limit, 220))]
    assert [found.key for found in await kept(store, limit=limit)] == expected
    assert await store.count() == 220


async def test_a_lone_surrogate_in_a_text_does_not_stop_a_letter(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter(subject="models/\ud800", error="bad \udfff")])
    (found,) = await kept(store)
    assert (found.key, found.original) == ("key", letter().original)


async def test_removed_letters_are_gone_and_only_they(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter("a"), letter("b"), letter("c")])
    assert await store.remove([letter("a"), letter("c"), letter("never-was")]) == 2
    assert [found.key for found in await kept(store)] == ["b"]
    assert await store.remove([]) == 0


async def test_a_removed_letter_can_be_put_again(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter()])
    await store.remove([letter()])
    again = msgspec.structs.replace(letter(), attempts=9)
    await store.put([again])
    assert await kept(store) == [again]


async def test_everything_that_a_redrive_needs_comes_back(open_dead_letters):
    whole = letter(stale=True, partition_key=None, object_path="models/ü/1")
    await open_dead_letters().put([whole])
    assert await kept(open_dead_letters()) == [whole]


async def test_a_letter_written_anew_keeps_its_place(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter("a", 1), letter("b", 2), letter("c", 3)])
    renewed = letter("b", 2, reason=Reason.REJECTED, error="No model of ours.", attempts=8)

    assert await store.replace(renewed)

    assert await kept(open_dead_letters()) == [letter("a", 1), renewed, letter("c", 3)]
    assert await store.count(LetterFilter(reasons=(Reason.REJECTED,))) == 1


async def test_a_letter_that_is_gone_is_not_written_anew(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter("a")])
    await store.remove([letter("a")])

    assert not await store.replace(letter("a", attempts=9))

    assert await kept(store) == []


async def test_a_letter_whose_object_was_not_known_is_in_its_line_once_it_is_written_anew(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter("old", object_path="")])
    assert not await store.holds(PARTITION, "deploy", letter().topic, letter().object_path)

    assert await store.replace(letter("old"))

    assert await store.holds(PARTITION, "deploy", letter().topic, letter().object_path)
    assert await kept(store) == [letter("old")]
    assert await store.remove([letter("old")]) == 1
    assert await kept(store) == []


OTHERS = [
    letter("other-processor", 10, processor="mail"),
    letter("other-reason", 20, reason=Reason.PARKED),
    letter("other-type", 30, event_type="Microsoft.MachineLearningServices.RunCompleted"),
    letter("other-topic", 40, topic="/subscriptions/z"),
    letter("other-object", 50, object_path="models/fraud", subject="models/fraud:1"),
    letter("nobody", 60, processor=None, object_path="", reason=Reason.INVALID_JSON),
    letter("usual", 70),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [each.key for each in OTHERS]),
        ({"processors": ("mail",)}, ["other-processor"]),
        ({"processors": ("mail", "gone")}, ["other-processor"]),
        ({"reasons": (Reason.PARKED, Reason.INVALID_JSON)}, ["other-reason", "nobody"]),
        ({"since_ms": 60}, ["nobody", "usual"]),
        ({"until_ms": 30}, ["other-processor", "other-reason"]),
        ({"since_ms": 20, "until_ms": 31, "reasons": (Reason.PARKED,)}, ["other-reason"]),
        ({"key": "other-t"}, ["other-type", "other-topic"]),
        ({"key": "OTHER"}, []),
        ({"type": "microsoft.machinelearningservices.runcompleted"}, ["other-type"]),
        ({"type": "Microsoft.*", "key": "us"}, ["usual"]),
        ({"topic": "/Subscriptions/Z/"}, ["other-topic"]),
        ({"object": "models/fraud"}, ["other-object"]),
        ({"object": "models/fraud:1"}, ["other-object"]),
        ({"object": "models/f*"}, ["other-object"]),
        ({"line": line_of(letter())}, ["other-reason", "other-type", "usual"]),
        ({"line": line_of(letter(processor="mail")), "reasons": (Reason.PARKED,)}, []),
    ],
    ids=str,
)
async def test_a_filter_picks_what_has_everything_that_is_asked_for(open_dead_letters, asked, expected):
    store = open_dead_letters()
    await store.put(OTHERS)
    where = LetterFilter(**asked)

    assert [found.key for found in await kept(store, where=where)] == expected
    assert await store.count(where) == len(expected)
    assert [each.key for each in OTHERS if where.matches(each)] == expected


async def test_a_limit_counts_only_letters_that_are_meant(open_dead_letters):
    store = open_dead_letters()
    await store.put(OTHERS)
    where = LetterFilter(topic="/subscriptions/x/*")

    found = [each.key for each in await kept(store, where=where, limit=5)]

    assert found == ["other-processor", "other-reason", "other-type", "other-object", "nobody"]


async def test_a_store_holds_what_was_put_until_the_last_letter_of_the_line_is_removed(open_dead_letters):
    store, other = open_dead_letters(), open_dead_letters()
    here = (PARTITION, "deploy", letter().topic, letter().object_path)
    assert not await store.holds(*here)

    await store.put([letter("a"), letter("b", reason=Reason.PARKED)])
    assert await other.holds(*here)
    await store.remove([letter("a")])
    assert await other.holds(*here)
    await store.remove([letter("b")])
    assert not await other.holds(*here)


@pytest.mark.parametrize(
    ("changed", "is_held"),
    [
        ({"partition": PARTITION._replace(partition="5")}, True),
        ({"partition": PARTITION._replace(hub="mOdElS", group="$default")}, True),
        ({"topic": "/SUBSCRIPTIONS/x/workspaces/Y"}, True),
        ({"partition": PARTITION._replace(group="$Default~replay-1")}, False),
        ({"processor": "deploy2"}, False),
        ({"topic": "/subscriptions/x/workspaces"}, False),
        ({"object_path": "models/größe"}, False),
        ({"object_path": ""}, False),
    ],
    ids=str,
)
async def test_a_line_is_of_one_processor_and_object_in_one_consumer_group(
    open_dead_letters, changed, is_held
):
    store = open_dead_letters()
    await store.put([letter()])
    asked = {
        "partition": PARTITION,
        "processor": "deploy",
        "topic": letter().topic,
        "object_path": letter().object_path,
    }
    assert await store.holds(**asked | changed) is is_held


async def test_a_line_with_a_lone_surrogate_is_found_again(open_dead_letters):
    store = open_dead_letters()
    await store.put([letter(object_path="models/\ud800")])
    assert await store.holds(PARTITION, "deploy", letter().topic, "models/\ud800")


async def test_only_one_may_redrive_at_a_time_where_a_store_can_tell(open_dead_letters):
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    first, second = open_dead_letters(), open_dead_letters()

    assert await first.claim(one, 15)
    if not first.is_indexed:  # such a store cannot keep anybody from it
        assert await second.claim(two, 15)
        return
    assert not await second.claim(two, 15)
    assert await first.claim(one, 15)  # renewed
    await second.release(two)  # not its own
    assert not await second.claim(two, 15)
    await first.release(one)
    assert await second.claim(two, 15)
    await second.release(two)


async def test_a_store_that_can_be_reached_passes_its_probe(open_dead_letters):
    store = open_dead_letters()
    await store.probe()
    assert await store.count() == 0
