"""An event is placed by the object that the pipelines will say it has."""

from __future__ import annotations

import json

from consumer.core.admission import Admission
from consumer.core.catalogue import Catalogue
from consumer.events import Position, RawBatch, Reason
from consumer.runtime.keying import Keying

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"

KEYING = Keying(Catalogue(), Admission([TOPIC], None))


def blob(subject: str, **fields: object) -> dict[str, object]:
    return {
        "id": "1",
        "topic": TOPIC,
        "subject": subject,
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-21T06:30:00Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {"sequencer": "1"},
        **fields,
    }


def keys(*bodies: bytes) -> list[list[tuple[bytes, bytes]]]:
    return KEYING(batch_of(*bodies))


def batch_of(*bodies: bytes) -> RawBatch:
    count = len(bodies)
    return RawBatch("3", [*bodies], [*range(count)], [""] * count, [0] * count, [None] * count, lambda _: {})


def packed(*events: object) -> bytes:
    return json.dumps(events, separators=(",", ":")).encode()


def test_events_of_one_object_have_one_key_whatever_message_they_are_in():
    one, other = blob("/a"), blob("/a", id="2", data={"sequencer": "2"})
    [[(first, _)], [(second, _), (third, _)]] = keys(packed(one), packed(blob("/b"), other))
    assert first == third != second


def test_every_event_of_a_message_goes_on_by_itself_with_its_original_bytes():
    [[(_, first), (_, second)]] = keys(b'[{"id":"a"} , ' + packed(blob("/a"))[1:])
    assert first == b'{"id":"a"}'
    assert json.loads(second) == blob("/a")


def test_what_is_no_event_and_what_is_not_admitted_go_on_too():
    [[(place, body)], [(_, _)]] = keys(b"{", packed(blob("/a", topic=TOPIC + "2")))
    assert (place, body) == (b"3/0/0", b"{")


def test_an_empty_array_has_nothing_to_go_on():
    assert keys(b"[]") == [[]]


def test_what_is_too_large_is_put_aside_for_that_unless_it_would_have_been_anyway():
    spoofed = blob("/a", eventType="Microsoft.Compute.Changed")
    batch = batch_of(b"{", packed(blob("/a", topic=TOPIC + "2"), blob("/b"), spoofed))
    letters = [KEYING.letter(batch, *place, "why") for place in ((0, 0), (1, 0), (1, 1), (1, 2))]
    reasons = [None if letter is None else letter.reason for letter in letters]
    assert reasons == [Reason.INVALID_JSON, None, Reason.TOO_LARGE, Reason.SPOOFED_TYPE]
    assert letters[2].subject.position == Position(batch.partition, 1, 1)
    assert letters[2].error == "why"
