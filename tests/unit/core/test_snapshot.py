"""Snapshots: what is written can be read, and what is damaged is never taken for something else."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec
import pytest
from harness.places import object_key, place_of
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.deduplicator import Deduplicator
from consumer.core.digests import digests_named
from consumer.core.object_table import Last, ObjectsImage, ObjectTable
from consumer.core.sections import Section, frame, unframe
from consumer.core.snapshot import (
    FORMAT,
    Expected,
    KeptEvent,
    KeptRule,
    ParkedObject,
    Progress,
    Snapshot,
    decode,
    encode,
    format_of,
    new_snapshot,
)
from consumer.core.table_image import TableImage
from consumer.errors import CorruptState, NewerState
from consumer.events import NOTHING_DONE, Checkpoint, ObjectId, OrderedBy, OrderToken

GOLDEN = Path(__file__).parent / "golden"
OBJECTS = {
    "models/fraud": Last(
        OrderToken(OrderedBy.VERSION, 3), "microsoft.machinelearningservices.modelregistered", 1
    ),
    "runs/r": Last(OrderToken(OrderedBy.STATUS, (1, 17_952_624_000_000_000)), "t", 2),
    "b\N{LATIN SMALL LETTER E WITH ACUTE}": Last(OrderToken(OrderedBy.SEQUENCER, "00f4"), "t", 3),
}
IDENTITIES = [(b"\x00" * 16 + b"\xff" * 8, 1_795_240_800_000)]


def objects_of(lasts: dict[str, Last], topic: str = "/subscriptions/s") -> ObjectsImage:
    table = ObjectTable()
    for path, last in lasts.items():
        token, event_type, time_ms = last
        table.put(place_of(object_key(ObjectId(topic, path)), token, event_type), time_ms)
    return table.image()


def identities_of(entries: list[tuple[bytes, int]]) -> TableImage:
    deduplicator = Deduplicator(window_ms=0, identities_max=1_000)
    for print_, time_ms in entries:
        deduplicator.remember(print_, time_ms)
    return deduplicator.image()


SAMPLE = Snapshot(
    epoch=7,
    owner="host-1",
    checkpoint=Checkpoint(1_041, "8589934592"),
    watermark_ms=1_795_240_800_000,
    config_hash="c0ffee",
    done_above={1_042: [0, 2], 1_044: []},
    released=[(0, "models/fraud", [(1_043, 0), (1_042, 1)])],
    acks=[Progress(1_043, 0, ["alert"], handled=True, stale=False, dead=None)],
    topics=["/subscriptions/s"],
    objects=objects_of(OBJECTS),
    identities=identities_of(IDENTITIES),
    parked=[ParkedObject("deploy", "/subscriptions/s", "models/fraud", (1_040, 0))],
    internal=[
        KeptEvent(
            Progress(1_039, 1, ["mail"], handled=True, stale=False, dead=None), "0", 1_795_240_700_000, b"{}"
        )
    ],
    rules=[
        KeptRule(
            "deployed",
            [Expected("fraud:3", "0", 1_030, 0, "/s", "id", "type", "subject", None, 1_795_240_700_000, 2)],
            [("fraud:4", 1_795_240_799_000)],
        )
    ],
    folded_to=1_045,
)
BESIDE = {
    "text": Last(OrderToken(OrderedBy.SEQUENCER, "0A-zz"), "t", 4),
    "huge": Last(OrderToken(OrderedBy.VERSION, -(10**40)), "t", 5),
    "pair": Last(OrderToken(OrderedBy.STATUS, (1, 10**40)), "t", 6),
    "type": Last(OrderToken(OrderedBy.VERSION, 1), "t" * 201, 7),
}
WITH_BESIDE = msgspec.structs.replace(SAMPLE, objects=objects_of(OBJECTS | BESIDE))

numbers = st.integers(0, 2**63)
positions = st.tuples(numbers, st.integers(0, 4_999))
values = st.one_of(
    st.text("0123456789abcdef", max_size=50),
    st.text(max_size=9),
    st.integers(),
    st.tuples(st.integers(0, 1), st.integers()),
)
lasts = st.builds(
    Last,
    st.builds(OrderToken, st.sampled_from(OrderedBy), values),
    st.text(max_size=9),
    st.integers(0, 2**48 - 1),
)
prints = st.binary(min_size=24, max_size=24)
progresses = st.builds(
    Progress,
    numbers,
    st.integers(0, 4_999),
    st.lists(st.text(max_size=5), max_size=3),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.just("rejected")),
)
words = st.text(max_size=9)
expected = st.builds(
    Expected,
    *(words, words, numbers, st.integers(0, 4_999), words, words, words, words),
    *(st.one_of(st.none(), st.integers(-(2**60), 2**60)), numbers, numbers),
)
snapshots = st.builds(
    Snapshot,
    epoch=st.integers(0, 2**40),
    owner=st.text(max_size=9),
    checkpoint=st.builds(Checkpoint, st.integers(-1, 2**63), st.text(max_size=9)),
    watermark_ms=st.one_of(st.none(), numbers),
    config_hash=st.text(max_size=9),
    done_above=st.dictionaries(numbers, st.lists(st.integers(0, 4_999), max_size=3), max_size=3),
    done_rows=st.lists(st.tuples(numbers, st.integers(1, 2**20)), max_size=3),
    released=st.lists(
        st.tuples(st.integers(0, 9), st.text(max_size=9), st.lists(positions, max_size=3)), max_size=3
    ),
    acks=st.lists(progresses, max_size=3),
    topics=st.lists(st.text(max_size=9), max_size=3),
    objects=st.dictionaries(st.text(max_size=9), lasts, max_size=50).map(objects_of),
    identities=st.lists(st.tuples(prints, st.integers(0, 2**48 - 1)), max_size=50).map(identities_of),
    parked=st.lists(
        st.builds(ParkedObject, st.text(max_size=5), st.text(max_size=9), st.text(max_size=9), positions),
        max_size=3,
    ),
    internal=st.lists(
        st.builds(KeptEvent, progresses, st.text(max_size=3), numbers, st.binary(max_size=9)), max_size=3
    ),
    rules=st.lists(
        st.builds(
            KeptRule,
            st.text(max_size=5),
            st.lists(expected, max_size=2),
            st.lists(st.tuples(st.text(max_size=5), numbers), max_size=2),
            st.one_of(st.none(), st.integers(0, 7 * 86_400_000)),
        ),
        max_size=2,
    ),
    folded_to=st.integers(-1, 2**63),
)


@given(snapshots)
def test_what_is_written_can_be_read(snapshot: Snapshot) -> None:
    assert decode(encode(snapshot)) == snapshot


def test_messages_that_are_done_in_a_row_are_told_with_the_others() -> None:
    read = decode(encode(msgspec.structs.replace(SAMPLE, done_rows=[(1_046, 2), (9_000, 1)])))

    assert read.resolved_above() == {1_042: [0, 2], 1_044: [], 1_046: [0], 1_047: [0], 9_000: [0]}


def test_what_does_not_fit_into_a_record_is_stored_beside_it() -> None:
    known = dict(ObjectTable(decode(encode(WITH_BESIDE)).objects).entries())

    assert known == {
        object_key(ObjectId("/subscriptions/s", path)): last for path, last in (OBJECTS | BESIDE).items()
    }


def test_what_this_format_once_wrote_stays_readable() -> None:
    assert decode((GOLDEN / "snapshot-format-4.bin").read_bytes()) == WITH_BESIDE


def test_what_the_format_before_it_wrote_stays_readable_and_lacks_what_came_later() -> None:
    before = decode((GOLDEN / "snapshot-format-3.bin").read_bytes())

    assert before == msgspec.structs.replace(WITH_BESIDE, parked=[], internal=[], rules=[], folded_to=-1)
    assert decode(encode(before)) == before


def test_what_an_older_format_wrote_stays_readable_and_keeps_its_digests() -> None:
    before = decode((GOLDEN / "snapshot-format-2.bin").read_bytes())

    assert before.digests == "blake2b"
    assert decode(encode(before)) == before
    same = (
        "epoch",
        "owner",
        "checkpoint",
        "watermark_ms",
        "done_above",
        "released",
        "acks",
        "topics",
        "identities",
    )
    assert [getattr(before, name) for name in same] == [getattr(WITH_BESIDE, name) for name in same]
    old = digests_named("blake2b")
    known = dict(ObjectTable(before.objects).entries())
    assert known == {
        old.object_key("/subscriptions/s", path): last for path, last in (OBJECTS | BESIDE).items()
    }


def test_digests_that_nothing_was_made_with_are_not_kept() -> None:
    empty = msgspec.structs.replace(new_snapshot(NOTHING_DONE, "me"), digests="blake2b")
    half_empty = msgspec.structs.replace(empty, identities=SAMPLE.identities)

    assert decode(encode(empty)).digests == "xxh3"
    assert decode(encode(half_empty)).digests == "blake2b"


def test_digests_that_are_not_known_are_refused() -> None:
    with pytest.raises(CorruptState, match="cannot be read"):
        decode(encode(msgspec.structs.replace(SAMPLE, digests="md5")))


def test_a_table_that_has_not_changed_is_written_again_as_it_was_read() -> None:
    stored = encode(WITH_BESIDE)
    taken = msgspec.structs.replace(decode(stored), epoch=8, owner="host-2")

    assert taken.objects.records.section() is taken.objects.records.stored
    assert taken.identities.section() is taken.identities.stored
    assert decode(encode(taken)) == msgspec.structs.replace(WITH_BESIDE, epoch=8, owner="host-2")
    assert encode(decode(stored)) == stored


def test_every_cut_is_noticed() -> None:
    stored = encode(SAMPLE)

    for length in range(len(stored)):
        with pytest.raises(CorruptState):
            decode(stored[:length])


def test_every_flipped_bit_is_noticed() -> None:
    stored = encode(SAMPLE)

    for index in range(len(stored)):
        for bit in range(8):
            damaged = bytearray(stored)
            damaged[index] ^= 1 << bit
            with pytest.raises(CorruptState):
                decode(bytes(damaged))


@pytest.mark.parametrize("extra", [b"\0", b"inturn"])
def test_something_behind_it_is_noticed(extra: bytes) -> None:
    with pytest.raises(CorruptState, match="damaged"):
        decode(encode(SAMPLE) + extra)


@pytest.mark.parametrize("name", ["snapshot-format-2.bin", "snapshot-format-3.bin", "snapshot-format-4.bin"])
def test_damage_is_never_taken_for_a_newer_format(name: str) -> None:
    stored = (GOLDEN / name).read_bytes()

    for index in range(len(stored)):
        for bit in range(8):
            damaged = bytearray(stored)
            damaged[index] ^= 1 << bit
            with pytest.raises(CorruptState) as caught:
                decode(bytes(damaged))
            assert not isinstance(caught.value, NewerState)


@given(st.binary(max_size=40))
def test_what_was_not_written_by_inturn_is_refused(stored: bytes) -> None:
    with pytest.raises(CorruptState):
        decode(stored)


def test_a_newer_format_is_refused_and_both_formats_are_named() -> None:
    header = b"inturn\0" + struct.pack(">HH", FORMAT + 1, 5) + b"where"
    newer = header + struct.pack(">I", zlib.crc32(header)) + b"whatever it is"

    with pytest.raises(NewerState, match=r"has format 5; this version of inturn reads up to format 4\."):
        decode(newer)
    assert format_of(newer) == 5


def test_the_format_is_told_without_reading_the_rest() -> None:
    assert format_of(encode(SAMPLE)[:20]) == FORMAT
    assert format_of(b"inturn") is None
    assert format_of(b"x" * 40) is None


CONTENTS = [b"", b"\xc1", b"\x90", b"\x93\x01\x02\x03", b"\xff" * 9, b"\x80", b"\0" * 40]


def test_a_format_that_is_not_read_any_more_is_refused_and_named() -> None:
    with pytest.raises(CorruptState, match="has format 1, which this version of inturn cannot read"):
        decode(b"inturn\0" + struct.pack(">HI", 1, zlib.crc32(b"body")) + b"body")


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_a_sound_section_around_something_else_is_refused(content: bytes, kind: int) -> None:
    sections = unframe(encode(SAMPLE), FORMAT)
    sections[kind] = Section.of([content])

    with pytest.raises(CorruptState):
        decode(frame(FORMAT, sections))


@pytest.mark.parametrize("kinds", [[], [1], [1, 2], [2, 1, 3], [1, 2, 3, 4]])
def test_other_sections_than_there_should_be_are_refused(kinds: list[int]) -> None:
    sections = unframe(encode(SAMPLE), FORMAT) | {4: Section.of([b""])}

    with pytest.raises(CorruptState, match="does not consist"):
        decode(frame(FORMAT, {kind: sections[kind] for kind in kinds}))


def test_a_bomb_does_not_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zlib.compress(bytes(10**6))
    monkeypatch.setattr("consumer.core.sections._SIZE_MAX", 1_000)
    with pytest.raises(CorruptState, match="larger than 1000 bytes"):
        Section(1, 10**6, zlib.crc32(bomb), (bomb,)).content()
    with pytest.raises(CorruptState, match="not as long as it says"):
        Section(1, 999, zlib.crc32(bomb), (bomb,)).content()


def test_a_new_partition_remembers_nothing() -> None:
    fresh = new_snapshot(NOTHING_DONE, "me")

    assert decode(encode(fresh)) == fresh
    assert (fresh.epoch, fresh.checkpoint, fresh.watermark_ms) == (0, NOTHING_DONE, None)
    assert (len(fresh.objects), len(fresh.identities)) == (0, 0)
