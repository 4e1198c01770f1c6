"""The parser of the fast receive path against the client's own decoder, on any message, cut and damage."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import NamedTuple

import pytest
from azure.eventhub import EventData
from azure.eventhub._pyamqp._decode import decode_frame, decode_payload
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.core import form
from consumer.hub.codec import Array, Described, Symbol, Timestamp, UInt, ULong, encode
from consumer.sources.amqp_columns import Columns
from consumer.sources.amqp_frames import FrameError, FrameParser
from consumer.sources.eventhub_batches import batch_of_columns, raw_batch

CHANNEL, HANDLE = 1, 3
FRAME_BYTES_MAX = 64 * 1024
EMPTY = b"\x00\x00\x00\x08\x02\x00\x00\x00"
FLOW = encode(Described(ULong(0x13), [UInt(0), UInt(9), UInt(0), UInt(9), *[None] * 7]))


class Style(NamedTuple):
    """What messages of one producer have in common."""

    order: list[int]
    is_wide: bool
    """Numbers take eight bytes, even small ones."""
    has_tag: bool
    has_told: bool
    has_header: bool
    extra: dict[Symbol, object]
    properties: list[object] | None
    application_properties: dict[str, object] | None
    sections: int
    """Of data; 0 is a value and -1 a sequence."""
    frames: int


plain_values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=8), st.binary(max_size=8)
)
styles = st.builds(
    Style,
    order=st.sampled_from([[0, 1, 2, 3], [0, 1, 2, 3], [3, 0, 1, 2], [2, 1, 0, 3]]),
    is_wide=st.booleans(),
    has_tag=st.booleans(),
    has_told=st.booleans(),
    has_header=st.booleans(),
    extra=st.one_of(st.just({}), st.just({Symbol("x-opt-other"): Array(["a", "b"])})),
    properties=st.one_of(st.none(), st.lists(st.text(max_size=5), max_size=3)),
    application_properties=st.one_of(
        st.none(), st.dictionaries(st.text(min_size=1, max_size=20), plain_values, max_size=4)
    ),
    sections=st.sampled_from([1, 1, 1, 1, 2, 3, 0, -1]),
    frames=st.sampled_from([1, 1, 1, 2, 5]),
)
messages = st.tuples(
    st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1)),
    st.one_of(st.integers(0, 10**15).map(str), st.text(max_size=300)),
    st.integers(0, 2**45),
    st.one_of(st.none(), st.text(max_size=40), st.text(min_size=120, max_size=300)),
    st.one_of(st.binary(max_size=40), st.binary(min_size=240, max_size=300)),
)


usual_styles = st.builds(
    Style,
    order=st.just([0, 1, 2, 3]),
    is_wide=st.just(True),
    has_tag=st.booleans(),
    has_told=st.booleans(),
    has_header=st.booleans(),
    extra=st.just({}),
    properties=st.one_of(st.none(), st.lists(st.text(max_size=5), max_size=3)),
    application_properties=st.one_of(
        st.none(), st.dictionaries(st.text(min_size=1, max_size=20), plain_values, max_size=4)
    ),
    sections=st.sampled_from([1, 1, 1, 1, 1, 2, 0]),
    frames=st.sampled_from([1, 1, 1, 1, 1, 2]),
)


@st.composite
def series(draw) -> list[tuple]:
    """Messages that look alike, as those of a hub do: what the parser has a short cut for."""
    first, offset = draw(st.integers(0, 2**40)), draw(st.integers(10**6, 9 * 10**6))
    keys = st.sampled_from([None, *draw(st.lists(st.text(max_size=40), max_size=2))])
    bodies = st.one_of(st.binary(max_size=20), st.binary(min_size=250, max_size=260))
    return [
        (first + index, str(offset + index), first + index, draw(keys), draw(bodies))
        for index in range(draw(st.integers(2, 8)))
    ]


def number(value: int, code: bytes) -> bytes:
    return code + struct.pack(">q", value)


def frame(channel: int, body: bytes) -> bytes:
    return struct.pack(">IBBH", len(body) + 8, 2, 0, channel) + body


def encoded(
    style: Style, sequence_number: int, offset: str, time_ms: int, key: str | None, body: bytes
) -> bytes:
    """A message as the service would write it."""
    value = number(sequence_number, b"\x81") if style.is_wide else encode(sequence_number)
    pairs = [
        encode(Symbol("x-opt-sequence-number")) + value,
        encode(Symbol("x-opt-offset")) + encode(offset),
        encode(Symbol("x-opt-enqueued-time")) + encode(Timestamp(time_ms)),
        b"" if key is None else encode(Symbol("x-opt-partition-key")) + encode(key),
    ]
    content = b"".join(pairs[place] for place in style.order)
    content += b"".join(encode(name) + encode(other) for name, other in style.extra.items())
    count = 6 + 2 * (key is not None) + 2 * len(style.extra)
    parts = []
    if style.has_header:
        parts.append(b"\x00\x53\x70" + encode([True]))
    if style.has_told:
        told = {
            Symbol("last_enqueued_sequence_number"): sequence_number,
            Symbol("last_enqueued_offset"): offset,
        }
        parts.append(b"\x00\x53\x71" + encode(told))
    parts.append(b"\x00\x53\x72\xd1" + struct.pack(">II", len(content) + 4, count) + content)
    if style.properties is not None:
        parts.append(b"\x00\x53\x73" + encode(style.properties))
    if style.application_properties is not None:
        parts.append(b"\x00\x53\x74" + encode(style.application_properties))
    if style.sections > 0:
        parts += [b"\x00\x53\x75" + encode(body)] * style.sections
    else:
        parts.append(
            b"\x00\x53\x77" + encode("x") if style.sections == 0 else b"\x00\x53\x76" + encode(["y"])
        )
    return b"".join(parts)


def transfers(style: Style, delivery_id: int, message: bytes, *, aborted: bool = False) -> list[bytes]:
    """The frames of a message."""
    cuts = [len(message) * part // style.frames for part in range(style.frames + 1)]
    found = []
    for index, (begin, end) in enumerate(pairwise(cuts)):
        is_last = index == style.frames - 1
        tag = struct.pack(">q", delivery_id) if style.has_tag else None
        fields = [
            UInt(HANDLE), UInt(delivery_id) if index == 0 else None, tag, UInt(0), True, not is_last,
            None, None, None, aborted and is_last, None,
        ]  # fmt: skip
        found.append(frame(CHANNEL, encode(Described(ULong(0x14), fields)) + message[begin:end]))
    return found


@st.composite
def streams(draw) -> list[bytes]:
    """Frames as they may come on one link, those of others between them."""
    found: list[bytes] = []
    delivery_id = draw(st.sampled_from([0, 250, 70_000, 70_000]))
    kinds = st.one_of(
        st.tuples(styles, st.lists(messages, min_size=1, max_size=6)),
        st.tuples(usual_styles, series()),
        st.tuples(usual_styles, series()),
    )
    for style, some in draw(st.lists(kinds, min_size=1, max_size=4)):
        for message in some:
            aborted = draw(st.integers(0, 15)) == 0
            found += transfers(style, delivery_id, encoded(style, *message), aborted=aborted)
            delivery_id += 1
            found += draw(st.sampled_from([[], [], [], [EMPTY], [frame(CHANNEL, FLOW)], [frame(0, FLOW)]]))
    return found


COLUMNS = (
    "bodies", "enqueued_times_ms", "odd", "offsets", "partition_keys", "properties", "sequence_numbers",
    "told",
)  # fmt: skip
"""Named here, since a compiled class has no slots to ask for."""


class Outcome(NamedTuple):
    """What a parser made of a stream."""

    columns: Columns
    others: list[tuple[int, bytes]]
    error: str | None
    transfers: int
    deliveries: int


class CarefulParser(FrameParser):
    """Takes no short cuts."""

    def _learn(self, layout: object) -> None:
        pass


def parsed(pieces: list[bytes], make: type[FrameParser] = FrameParser) -> Outcome:
    columns, others = Columns(), []
    parser = make(columns, CHANNEL, HANDLE, FRAME_BYTES_MAX)
    error = None
    try:
        for piece in pieces:
            parser.feed(piece)
            while parser.other is not None:
                others.append(parser.other)
                parser.proceed()
    except FrameError as caught:
        error = str(caught)
    return Outcome(columns, others, error, parser.transfers, parser.deliveries)


def read_by_the_client(frames: list[bytes]):
    """The same by the client's decoder, and the frames that are not for the link."""
    events, others, payload = [], [], b""
    for each in frames:
        if each == EMPTY:
            continue
        code, fields = decode_frame(memoryview(each[8:]))
        if code != 0x14 or fields[0] != HANDLE:
            others.append((each[7], each[8:]))
            continue
        payload += bytes(fields[11])
        if fields[9]:
            payload = b""
        elif not fields[5]:
            events.append(EventData._from_message(decode_payload(memoryview(payload))))
            payload = b""
    return raw_batch("0", events, None), others


def rows(batch):
    return list(
        zip(
            batch.sequence_numbers,
            batch.offsets,
            batch.enqueued_times_ms,
            batch.partition_keys,
            batch.bodies,
            [dict(batch.properties_at(index)) for index in range(len(batch))],
            strict=True,
        )
    )


def cut(data: bytes, places: list[float]) -> list[bytes]:
    marks = sorted({0, len(data), *(int(place * len(data)) for place in places)})
    return [data[begin:end] for begin, end in pairwise(marks)] or [data]


cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=12)


@given(streams(), cuts)
def test_every_message_is_read_as_the_client_reads_it_however_the_bytes_are_cut(frames, places):
    expected, others = read_by_the_client(frames)
    found = parsed(cut(b"".join(frames), places))
    assert found.error is None
    assert rows(batch_of_columns("0", found.columns, None)) == rows(expected)
    assert found.others == others
    assert found.transfers == len([each for each in frames if each[8:11] == b"\x00\x53\x14"])
    assert found.deliveries >= len(expected)


@given(streams())
def test_byte_by_byte_is_the_same_as_in_one_piece(frames):
    data = b"".join(frames)
    whole, crumbs = parsed([data]), parsed([data[at : at + 1] for at in range(len(data))])
    assert [getattr(whole.columns, name) for name in COLUMNS] == [
        getattr(crumbs.columns, name) for name in COLUMNS
    ]
    assert whole[1:] == crumbs[1:]


def test_what_the_hub_told_last_counts_though_messages_without_it_came_behind():
    tells = Style([0, 1, 2, 3], True, False, True, False, {}, None, None, 1, 1)
    frames = []
    for index, style in enumerate([tells, tells._replace(has_told=False)] * 2):
        message = encoded(style, index, str(1_000 + index), index, None, b"{}")
        frames += transfers(style, 0, message) * 2
    columns = parsed([b"".join(frames)]).columns
    assert len(columns) == 8
    assert encode(2) + encode(Symbol("last_enqueued_offset")) in columns.told


@given(st.binary(max_size=400), cuts)
@example(b"\x00\x00\x00\x00" * 4, [])
@example(b"\xff\xff\xff\xff" * 4, [])
def test_arbitrary_bytes_end_in_frames_for_the_client_or_in_an_error(data, places):
    found = parsed(cut(data, places))
    assert len(found.columns) == 0
    assert sum(len(body) for _, body in found.others) <= len(data)


@st.composite
def damaged(draw):
    """A stream, the same with something wrong, and how many bytes are as they were."""
    frames = draw(streams())
    data = b"".join(frames)
    # Among what is alike in every message damage is found the hardest.
    heads = [place + 3 for place in range(len(data)) if data.startswith(b"\x00\x53\x72", place)]
    at = draw(st.sampled_from(heads)) + draw(st.integers(0, 130)) if heads and draw(st.booleans()) else None
    at = draw(st.integers(0, len(data) - 1)) if at is None else min(at, len(data) - 1)
    replaced = draw(st.binary(max_size=4))
    gone = draw(st.one_of(st.just(len(replaced)), st.integers(0, 4)))
    return frames, data[:at] + replaced + data[at + gone :], at


@given(damaged(), cuts)
def test_damage_costs_no_message_before_it_and_ends_the_same_way_however_it_is_cut(case, places):
    frames, data, at = case
    whole, pieces = parsed([data]), parsed(cut(data, places))
    assert whole[1:] == pieces[1:]
    assert whole.columns.bodies == pieces.columns.bodies
    assert whole.columns.sequence_numbers == pieces.columns.sequence_numbers

    before, end = [], 0
    for each in frames:
        end += len(each)
        if end > at:
            break
        before.append(each)
    intact = parsed(before).columns
    assert whole.columns.sequence_numbers[: len(intact)] == intact.sequence_numbers
    assert whole.columns.bodies[: len(intact)] == intact.bodies


@pytest.mark.skipif(form() == "compiled", reason="a compiled parser has no subclass without short cuts")
@given(damaged())
def test_the_short_cut_reads_what_careful_reading_reads(case):
    _, data, _ = case
    quick, careful = parsed([data]), parsed([data], CarefulParser)
    assert [getattr(quick.columns, name) for name in COLUMNS] == [
        getattr(careful.columns, name) for name in COLUMNS
    ]
    assert quick[1:] == careful[1:]


@given(damaged())
def test_of_damaged_frames_none_vanishes(case):
    _, data, _ = case
    found = parsed([data])
    if found.error is not None:
        return
    # Whole frames by their sizes: each is a transfer, a frame for the client, or a sign of life.
    at = signs = count = 0
    while len(data) - at >= 8 and at + (size := struct.unpack_from(">I", data, at)[0]) <= len(data):
        signs += size == 4 * data[at + 4]
        count += 1
        at += size
    assert found.transfers + len(found.others) + signs == count


@given(streams(), st.integers(1, 10))
def test_rows_are_taken_out_in_pieces_as_they_came(frames, count):
    whole, taken = parsed(frames).columns, []
    columns = parsed(frames).columns
    while columns:
        part = columns.take(count)
        assert len(part) <= count
        for row, message in part.odd:
            assert (len(taken) + row, message) in whole.odd
        taken += zip(part.sequence_numbers, part.offsets, part.bodies, part.properties, strict=True)
    assert taken == list(
        zip(whole.sequence_numbers, whole.offsets, whole.bodies, whole.properties, strict=True)
    )


@pytest.mark.skipif(form() == "compiled", reason="the limit is part of the compiled code")
def test_a_message_that_does_not_end_is_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr("consumer.sources.amqp_frames.MESSAGE_BYTES_MAX", 1_000)
    fields = [UInt(HANDLE), UInt(0), None, UInt(0), True, True, *[None] * 5]
    endless = frame(CHANNEL, encode(Described(ULong(0x14), fields)) + bytes(300))
    parser = FrameParser(Columns(), CHANNEL, HANDLE, FRAME_BYTES_MAX)
    parser.feed(endless * 3)
    with pytest.raises(FrameError, match="does not end"):
        parser.feed(endless)


def test_a_frame_larger_than_was_agreed_is_refused_before_it_has_come():
    parser = FrameParser(Columns(), CHANNEL, HANDLE, FRAME_BYTES_MAX)
    with pytest.raises(FrameError, match="impossible size"):
        parser.feed(struct.pack(">IBBH", FRAME_BYTES_MAX + 1, 2, 0, CHANNEL))


def test_a_message_without_a_sequence_number_is_refused():
    fields = [UInt(HANDLE), UInt(0), None, UInt(0), True, False, *[None] * 5]
    parser = FrameParser(Columns(), CHANNEL, HANDLE, FRAME_BYTES_MAX)
    with pytest.raises(FrameError, match="without a sequence number"):
        parser.feed(frame(CHANNEL, encode(Described(ULong(0x14), fields)) + b"\x00\x53\x75\xa0\x01x"))
