"""Snapshots: what is written can be read, and what is damaged is never taken for something else."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.snapshot import (
    FORMAT,
    ObjectEntry,
    Progress,
    Snapshot,
    decode,
    encode,
    new_snapshot,
)
from consumer.errors import CorruptState
from consumer.events import NOTHING_DONE, Checkpoint

GOLDEN = Path(__file__).parent / "golden" / "snapshot-format-1.bin"
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
    objects=[
        ObjectEntry(0, "models/fraud", "version", 3, "microsoft.machinelearningservices.modelregistered", 1),
        ObjectEntry(0, "runs/r", "status", (1, 17_952_624_000_000_000), "t", 2),
        ObjectEntry(0, "b\N{LATIN SMALL LETTER E WITH ACUTE}", "sequencer", "00f4", "t", 3),
    ],
    identities=[(b"\x00" * 16, b"\xff" * 8, 1_795_240_800_000)],
)

numbers = st.integers(0, 2**63)
positions = st.tuples(numbers, st.integers(0, 4_999))
snapshots = st.builds(
    Snapshot,
    epoch=st.integers(0, 2**40),
    owner=st.text(max_size=9),
    checkpoint=st.builds(Checkpoint, st.integers(-1, 2**63), st.text(max_size=9)),
    watermark_ms=st.one_of(st.none(), numbers),
    config_hash=st.text(max_size=9),
    done_above=st.dictionaries(numbers, st.lists(st.integers(0, 4_999), max_size=3), max_size=3),
    released=st.lists(
        st.tuples(st.integers(0, 9), st.text(max_size=9), st.lists(positions, max_size=3)), max_size=3
    ),
    acks=st.lists(
        st.builds(
            Progress,
            numbers,
            st.integers(0, 4_999),
            st.lists(st.text(max_size=5), max_size=3),
            st.booleans(),
            st.booleans(),
            st.one_of(st.none(), st.just("rejected")),
        ),
        max_size=3,
    ),
    topics=st.lists(st.text(max_size=9), max_size=3),
    objects=st.lists(
        st.builds(
            ObjectEntry,
            st.integers(0, 9),
            st.text(max_size=9),
            st.just("version"),
            st.one_of(
                st.text(max_size=9), numbers, st.tuples(st.integers(0, 1), st.integers(-(2**63), 2**63))
            ),
            st.text(max_size=9),
            numbers,
        ),
        max_size=3,
    ),
    identities=st.lists(st.tuples(st.binary(max_size=16), st.binary(max_size=8), numbers), max_size=3),
)


@given(snapshots)
def test_what_is_written_can_be_read(snapshot: Snapshot) -> None:
    assert decode(encode(snapshot)) == snapshot


def test_what_this_format_once_wrote_stays_readable() -> None:
    assert decode(GOLDEN.read_bytes()) == SAMPLE


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
    with pytest.raises(CorruptState, match="checksum"):
        decode(encode(SAMPLE) + extra)


@given(st.binary(max_size=40))
def test_what_was_not_written_by_inturn_is_refused(stored: bytes) -> None:
    with pytest.raises(CorruptState):
        decode(stored)


def with_body(body: bytes, format_: int = FORMAT) -> bytes:
    return b"inturn\0" + struct.pack(">HI", format_, zlib.crc32(body)) + body


def test_a_newer_format_is_refused_and_both_formats_are_named() -> None:
    with pytest.raises(CorruptState, match=r"has format 2; this version of inturn reads format 1\."):
        decode(with_body(b"whatever it is", FORMAT + 1))


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x90", b"\x93\x01\x02\x03", b"\xff" * 9, b"\x80"])
def test_a_sound_frame_around_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptState):
        decode(with_body(zlib.compress(content)))
    with pytest.raises(CorruptState):
        decode(with_body(content))


def test_a_bomb_does_not_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.core.snapshot._SIZE_MAX", 1_000)

    with pytest.raises(CorruptState, match="larger than 1000 bytes"):
        decode(with_body(zlib.compress(bytes(10**6))))


def test_a_new_partition_remembers_nothing() -> None:
    fresh = new_snapshot(NOTHING_DONE, "me")

    assert decode(encode(fresh)) == fresh
    assert (fresh.epoch, fresh.checkpoint, fresh.watermark_ms) == (0, NOTHING_DONE, None)
