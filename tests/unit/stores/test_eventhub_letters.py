"""Dead letters as messages of a hub: sizes, parts, retention, strangers, and a hub that is away."""

from __future__ import annotations

import json
import os

import pytest
from harness.letter_hub import LetterHub
from harness.letters import letter

from consumer.errors import StoreUnavailable
from consumer.stores.eventhub_letters import Assembler, Do, Outgoing, messages_of

SMALLEST_TIER_BYTES = 262_144


def told(messages) -> list[tuple[Do, object]]:
    assembler = Assembler()
    found = [assembler.take(each.body, each.properties) for each in messages]
    return [(each.do, each.letter) for each in found if each is not None]


@pytest.mark.parametrize("original", [b"", os.urandom(1_048_576), b'{"a": "\\u00fc"}' * 60_000, "ü".encode()])
def test_a_letter_of_any_size_fits_the_messages_of_the_smallest_tier(original):
    sent = letter("fraud", 1, original=original)

    messages = list(messages_of(Do.PUT, sent))

    assert max(len(each.body) + len(repr(each.properties)) for each in messages) < SMALLEST_TIER_BYTES
    assert len({each.partition_key for each in messages}) == 1
    assert told(messages) == [(Do.PUT, sent)]


def test_parts_that_were_sent_twice_make_one_letter():
    sent = letter("fraud", 1, original=b"x" * 400_000)
    first, second, third = messages_of(Do.PUT, sent)
    assert told([first, first, second, first, second, third]) == [(Do.PUT, sent)]


def test_parts_of_several_letters_may_be_mixed_and_an_unfinished_one_stops_nobody():
    one, two = (list(messages_of(Do.PUT, letter(name, 1, original=b"x" * 400_000))) for name in "ab")
    mixed = [one[0], two[0], two[1], one[1], two[2]]
    assert [each.event_id for _, each in told(mixed)] == ["b-1"]


def test_all_messages_about_a_letter_have_one_partition_key():
    sent = letter("fraud", 1)
    keys = {each.partition_key for do in Do for each in messages_of(do, sent)}
    assert len(keys) == 1


def test_a_message_can_be_understood_without_inturn():
    (message,) = messages_of(Do.PUT, letter("fraud", 1))
    assert json.loads(message.body)["original_text"] == letter("fraud", 1).original.decode()
    assert (message.properties["reason"], message.properties["processor"]) == ("retries_spent", "deploy")
    assert message.properties["position"] == "0/1/0"


@pytest.mark.parametrize(
    "message",
    [
        Outgoing(b"hello", {}, "a"),
        Outgoing(b"{}", {"inturn-do": "put", "inturn-id": "1", "inturn-part": 0, "inturn-parts": 1}, "a"),
        Outgoing(b"\xff", {"inturn-do": "put", "inturn-id": "1", "inturn-part": 0, "inturn-parts": 1}, "a"),
        Outgoing(b"x", {"inturn-do": "boil", "inturn-id": "1", "inturn-part": 0, "inturn-parts": 1}, "a"),
        Outgoing(b"x", {"inturn-do": "put", "inturn-id": "1", "inturn-part": 7, "inturn-parts": 9}, "a"),
    ],
)
async def test_what_others_send_to_the_hub_is_left_out(message):
    hub = LetterHub()
    await hub.send([message])
    store = hub.open()
    await store.put([letter("fraud", 1)])
    assert [each async for each in store.letters()] == [letter("fraud", 1)]
    await store.close()


async def test_only_what_is_new_is_read_again():
    hub = LetterHub()
    store = hub.open()
    await store.put([letter("fraud", version) for version in range(1, 30)])
    assert await store.count() == 29
    read = hub.read
    await store.put([letter("churn", 1)])
    assert await store.count() == 30
    assert hub.read - read == 1
    await store.close()


async def test_what_retention_has_taken_is_gone_and_the_rest_is_there():
    hub = LetterHub(partitions=1)
    first = hub.open()
    await first.put([letter("fraud", 1)])
    await first.put([letter("fraud", 2)])
    await first.close()
    hub.begins["0"] = 1
    second = hub.open()
    assert [each.event_id async for each in second.letters()] == ["fraud-2"]
    await second.close()


async def test_a_hub_that_is_away_is_a_store_that_is_away_and_nothing_is_lost_by_it():
    hub = LetterHub()
    store = hub.open()
    await store.put([letter("fraud", 1)])
    assert await store.count() == 1
    hub.is_away = True
    calls = [
        store.put([letter("fraud", 2)]),
        store.replace(letter("fraud", 1)),
        store.remove([letter("fraud", 1)]),
        store.count(),
        store.probe(),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="No Event Hub answers"):
            await call
    hub.is_away = False
    assert await store.remove([letter("fraud", 1)]) == 1
    other = hub.open()
    assert await other.count() == 0
    await store.close()
    await other.close()


def test_ends_of_letters_whose_beginning_is_gone_take_no_room():
    assembler = Assembler()
    for number in range(100):
        *_, last = messages_of(Do.PUT, letter("fraud", number, original=b"x" * 400_000))
        assert assembler.take(last.body, last.properties) is None
    assert not assembler._unfinished
