"""What every dead-letter store promises, whatever it is made of."""

from __future__ import annotations

import msgspec
import pytest

from consumer.events import DeadLetter, PartitionId, Position, Reason

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
