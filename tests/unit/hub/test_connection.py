"""The connection against a transport that is a list: whatever a client says, the hub stands."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.hub import performatives as p
from consumer.hub.codec import Described, Symbol, UInt, ULong, UShort, decode, encode
from consumer.hub.connection import Connection
from consumer.hub.entity import EventHub
from consumer.hub.frames import FrameReader
from consumer.hub.log import PartitionLog
from consumer.hub.messages import compose
from consumer.hub.namespace import Namespace
from consumer.hub.settings import HubSettings, ServerLimits
from consumer.hub.tokens import SAS, TokenPolicy


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def namespace(**limits: Any) -> Namespace:
    logs = [PartitionLog(lambda: 1_000) for _ in range(2)]
    hub = EventHub(HubSettings(name="events", partitions=2), logs, 0, 5)
    hub.append([compose(b"event", None, None)] * 10, "0")
    return Namespace([hub], ServerLimits(**limits), TokenPolicy("key", None, lambda: 0), lambda: 1_000)


def performative(channel: int, code: int, *fields: Any) -> bytes:
    return p.frame(channel, encode(Described(ULong(code), list(fields))))


def transfer(channel: int, handle: int, delivery: int, message: bytes, *, more: bool = False) -> bytes:
    fields = [UInt(handle), UInt(delivery), b"tag", UInt(0), False, more]
    return p.frame(channel, encode(Described(ULong(p.TRANSFER), fields)) + message)


def source(address: str) -> Described:
    return Described(ULong(p.SOURCE), [address])


def target(address: str) -> Described:
    return Described(ULong(p.TARGET), [address])


HANDSHAKE = [
    p.SASL_HEADER,
    p.frame(0, encode(Described(ULong(p.SASL_INIT), [Symbol("ANONYMOUS")])), sasl=True),
    p.AMQP_HEADER,
    performative(0, p.OPEN, "me", None, UInt(65_536)),
    performative(1, p.BEGIN, None, UInt(0), UInt(100), UInt(100)),
]
TOKEN = (
    encode(Described(ULong(0x73), ["id"]))
    + encode(Described(ULong(0x74), {"operation": "put-token", "type": SAS, "name": "sb://host/events"}))
    + encode(Described(ULong(0x77), "SharedAccessSignature sr=&sig=&se=0&skn="))
)
CBS = [
    performative(
        1, p.ATTACH, "out", UInt(0), False, None, None, source("me"), target("$cbs"), None, None, UInt(0)
    ),
    performative(1, p.ATTACH, "in", UInt(1), True, None, None, source("$cbs"), target("me")),
    performative(1, p.FLOW, UInt(0), UInt(100), UInt(0), UInt(100), UInt(1), UInt(0), UInt(10)),
    transfer(1, 0, 0, TOKEN),
]
READ = "events/ConsumerGroups/$Default/Partitions/0"
RECEIVE = [
    performative(1, p.ATTACH, "reader", UInt(2), True, None, None, source(READ), target("me")),
    performative(1, p.FLOW, UInt(0), UInt(100), UInt(0), UInt(100), UInt(2), UInt(0), UInt(5)),
]
SEND = [
    performative(
        1, p.ATTACH, "s", UInt(3), False, None, None, source("me"), target("events"), None, None, UInt(0)
    ),
    transfer(1, 3, 1, b"\x00\x53\x75\xa0\x05hello"),
]
END = [performative(1, p.DETACH, UInt(2), True), performative(1, p.END), performative(0, p.CLOSE)]
CONVERSATION = [*HANDSHAKE, *CBS, *RECEIVE, *SEND, *END]


class Client:
    """Says things to a connection of the hub, and takes its answers apart."""

    def __init__(self, world: Namespace | None = None) -> None:
        self.world = world or namespace()
        self.transport = Transport()
        self.connection = Connection(self.world)
        self.connection.connection_made(self.transport)
        self.failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.failures.append(context))

    async def say(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.connection.data_received(chunk)
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    def heard(self) -> list[tuple[int, p.Performative]]:
        """What the hub said after the SASL outcome, but for signs of life."""
        at = self.transport.written.index(p.AMQP_HEADER) + 8
        reader = FrameReader(2**31)
        reader.feed(bytes(self.transport.written[at:]))
        frames: list[tuple[int, p.Performative]] = []
        while (found := reader.read_frame()) is not None:
            if found[2]:
                frames.append((found[1], p.parse(found[2])))
        return frames

    def errors(self) -> list[str]:
        told = [frame.fields[-1] for _, frame in self.heard() if frame.code in {p.DETACH, p.END, p.CLOSE}]
        return [str(error.value[0]) for error in told if error is not None]

    def leave(self) -> None:
        self.connection.connection_lost(None)
        assert self.failures == []


async def converse(*chunks: bytes, world: Namespace | None = None) -> Client:
    client = Client(world)
    await client.say(*chunks)
    client.leave()
    return client


async def test_a_whole_conversation_is_understood() -> None:
    client = await converse(*CONVERSATION)
    codes = [frame.code for _, frame in client.heard()]
    assert codes.count(p.TRANSFER) == 1 + 5
    assert client.errors() == []
    assert client.world.totals.received == 1
    assert client.transport.closed
    assert client.world.peers == set()


async def test_every_performative_has_all_of_its_fields() -> None:
    client = await converse(*CONVERSATION, world=namespace())
    counts = {p.OPEN: 10, p.BEGIN: 8, p.ATTACH: 14, p.FLOW: 11, p.TRANSFER: 11, p.DISPOSITION: 6, p.DETACH: 3}
    at = client.transport.written.index(p.AMQP_HEADER) + 8
    reader = FrameReader(2**31)
    reader.feed(bytes(client.transport.written[at:]))
    seen = set()
    while (found := reader.read_frame()) is not None:
        described, _ = decode(found[2])
        seen.add(described.descriptor)
        assert len(described.value) == counts.get(described.descriptor, 1)
    assert seen >= {*counts, p.END, p.CLOSE}


async def test_deliveries_are_settled_and_carry_no_tag() -> None:
    client = await converse(*HANDSHAKE, *CBS, *RECEIVE)
    deliveries = [
        frame.fields for _, frame in client.heard() if frame.code == p.TRANSFER and frame.fields[0] == 2
    ]
    assert len(deliveries) == 5
    assert all(fields[2] is None and fields[4] is True for fields in deliveries)
    assert [fields[1] for fields in deliveries] == [1, 2, 3, 4, 5]


async def test_no_more_is_delivered_than_the_session_window_takes() -> None:
    narrow = performative(1, p.BEGIN, None, UInt(0), UInt(3), UInt(100))
    flow = performative(1, p.FLOW, UInt(0), UInt(3), UInt(0), UInt(100), UInt(2), UInt(0), UInt(100))
    client = Client()
    await client.say(*HANDSHAKE[:-1], narrow, *CBS[:2], CBS[3], RECEIVE[0], flow)
    sent = [frame for _, frame in client.heard() if frame.code == p.TRANSFER]
    assert len(sent) == 3
    await client.say(performative(1, p.FLOW, UInt(3), UInt(2), UInt(0), UInt(100)))
    sent = [frame for _, frame in client.heard() if frame.code == p.TRANSFER]
    assert len(sent) == 5
    client.leave()


async def test_a_client_that_drains_gets_what_is_there_and_loses_the_rest_of_its_credit() -> None:
    drain = [UInt(0), UInt(100), UInt(0), UInt(100), UInt(2), UInt(0), UInt(50), None, True]
    client = await converse(*HANDSHAKE, *CBS, RECEIVE[0], performative(1, p.FLOW, *drain))
    assert len([1 for _, frame in client.heard() if frame.code == p.TRANSFER and frame.fields[0] == 2]) == 10
    flows = [frame.fields for _, frame in client.heard() if frame.code == p.FLOW and frame.fields[4] == 2]
    assert [(fields[5], fields[6], fields[8]) for fields in flows] == [(50, 0, True)]


async def test_an_echo_is_answered() -> None:
    echo = [UInt(0), UInt(100), UInt(0), UInt(100), None, None, None, None, False, True]
    client = await converse(*HANDSHAKE, performative(1, p.FLOW, *echo))
    assert [frame.fields[4] for _, frame in client.heard() if frame.code == p.FLOW] == [None]


async def test_small_frames_cut_an_event_into_many() -> None:
    world = namespace()
    world.hubs["events"].append([compose(b"x" * 5_000, None, None)], "1")
    opening = performative(0, p.OPEN, "me", None, UInt(512))
    attach = performative(1, p.ATTACH, "r", UInt(2), True, None, None, source(READ[:-1] + "1"), target("me"))
    client = await converse(*HANDSHAKE[:3], opening, HANDSHAKE[4], *CBS, attach, RECEIVE[1], world=world)
    frames = [frame for _, frame in client.heard() if frame.code == p.TRANSFER and frame.fields[0] == 2]
    assert [frame.fields[5] for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert len(b"".join(frame.payload for frame in frames)) > 5_000
    assert len(frames) > 10


async def test_frames_of_an_unknown_channel_or_link_are_ignored() -> None:
    strange = [performative(7, p.DETACH, UInt(2), True), performative(1, p.DETACH, UInt(9), True)]
    client = await converse(*HANDSHAKE, *strange, transfer(1, 8, 0, b""), *CBS, *RECEIVE)
    assert client.errors() == []
    assert not client.transport.closed


async def test_sessions_of_one_connection_are_apart() -> None:
    second = performative(2, p.BEGIN, None, UInt(0), UInt(100), UInt(100))
    attach = performative(2, p.ATTACH, "other", UInt(2), True, None, None, source(READ), target("me"))
    flow = performative(2, p.FLOW, UInt(0), UInt(100), UInt(0), UInt(100), UInt(2), UInt(0), UInt(3))
    client = await converse(*HANDSHAKE, *CBS, *RECEIVE, second, attach, flow)
    channels = [
        channel for channel, frame in client.heard() if frame.code == p.TRANSFER and frame.fields[0] == 2
    ]
    assert (channels.count(1), channels.count(2)) == (5, 3)


@pytest.mark.parametrize(
    ("chunks", "condition"),
    [
        ([*HANDSHAKE, *RECEIVE], "amqp:unauthorized-access"),
        ([*HANDSHAKE, HANDSHAKE[-1]], "amqp:illegal-state"),
        ([*HANDSHAKE, CBS[0], CBS[0]], "amqp:session:handle-in-use"),
        ([*HANDSHAKE[:3], performative(0, p.OPEN, "me", None, UInt(100))], "amqp:invalid-field"),
        ([*HANDSHAKE, performative(1, p.FLOW, None, "many", UInt(0), UInt(1))], "amqp:invalid-field"),
        ([*HANDSHAKE, *CBS, RECEIVE[0], transfer(1, 2, 0, b"")], "amqp:not-allowed"),
        ([*HANDSHAKE, CBS[0], transfer(1, 0, 0, TOKEN)], "amqp:precondition-failed"),
        ([*HANDSHAKE, *CBS, SEND[0], transfer(1, 3, 1, b"x" * 900_000, more=True)] , None),
    ],
)  # fmt: skip
async def test_what_is_not_allowed_is_answered_with_its_condition(
    chunks: list[bytes], condition: str | None
) -> None:
    client = await converse(*chunks)
    assert client.errors() == ([] if condition is None else [condition])


async def test_a_message_that_never_ends_is_cut_off_at_the_limit() -> None:
    pieces = [transfer(1, 3, 1, b"x" * 1_000, more=True) for _ in range(12)]
    client = await converse(*HANDSHAKE, *CBS, SEND[0], *pieces, world=namespace(message_bytes_max=10_000))
    assert client.errors() == ["amqp:link:message-size-exceeded"]


async def test_a_message_that_the_sender_aborts_is_not_stored() -> None:
    aborted = [UInt(3), UInt(1), b"tag", UInt(0), False, False, None, None, None, True]
    pieces = [
        transfer(1, 3, 1, b"\x00\x53\x75", more=True),
        p.frame(1, encode(Described(ULong(p.TRANSFER), aborted))),
    ]
    client = await converse(*HANDSHAKE, *CBS, SEND[0], *pieces, transfer(1, 3, 2, b"\x00\x53\x75\xa0\x02ok"))
    assert client.world.totals.received == 1
    assert [frame.fields[1] for _, frame in client.heard() if frame.code == p.DISPOSITION] == [0, 2]


async def test_a_sending_that_is_settled_already_is_stored_and_not_answered() -> None:
    settled = encode(Described(ULong(p.TRANSFER), [UInt(3), UInt(1), b"tag", UInt(0), True]))
    client = await converse(*HANDSHAKE, *CBS, SEND[0], p.frame(1, settled + b"\x00\x53\x75\xa0\x02ok"))
    assert client.world.totals.received == 1
    assert [frame.fields[1] for _, frame in client.heard() if frame.code == p.DISPOSITION] == [0]


async def test_a_malformed_sending_is_rejected_and_the_link_goes_on() -> None:
    bad, good = transfer(1, 3, 1, b"\x00\x53\x75\xa1\x02no"), transfer(1, 3, 2, b"\x00\x53\x75\xa0\x02ok")
    client = await converse(*HANDSHAKE, *CBS, SEND[0], bad, good)
    states = [frame.fields[4].descriptor for _, frame in client.heard() if frame.code == p.DISPOSITION]
    assert states == [p.ACCEPTED, p.REJECTED, p.ACCEPTED]
    assert client.errors() == []


async def test_nothing_is_delivered_while_the_socket_is_full() -> None:
    client = Client()
    await client.say(*HANDSHAKE, *CBS)
    client.connection.pause_writing()
    await client.say(*RECEIVE)
    assert len([1 for _, frame in client.heard() if frame.code == p.TRANSFER and frame.fields[0] == 2]) == 0
    client.connection.resume_writing()
    await client.say()
    assert len([1 for _, frame in client.heard() if frame.code == p.TRANSFER and frame.fields[0] == 2]) == 5
    client.leave()


async def test_links_and_sessions_are_limited() -> None:
    links = [
        performative(1, p.ATTACH, str(n), UInt(n), False, None, None, source("me"), target("$cbs"))
        for n in range(4)
    ]
    client = await converse(*HANDSHAKE, *links, world=namespace(links_max=3))
    assert client.errors() == ["amqp:resource-limit-exceeded"]
    begins = [performative(n, p.BEGIN, None, UInt(0), UInt(1), UInt(1)) for n in range(2, 5)]
    client = await converse(*HANDSHAKE, *begins, world=namespace(sessions_max=3))
    assert client.errors() == ["amqp:resource-limit-exceeded"]
    assert client.transport.closed


async def test_a_reader_of_answers_who_never_takes_them_is_detached() -> None:
    world = namespace()
    client = await converse(
        *HANDSHAKE, *CBS[:2], *[transfer(1, 0, n, TOKEN) for n in range(200)], world=world
    )
    assert client.errors() == ["amqp:resource-limit-exceeded"]


def run(chunks: list[bytes]) -> Client:
    async def body() -> Client:
        return await converse(*chunks)

    return asyncio.run(body())


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(0, len(HANDSHAKE)))
def test_arbitrary_bytes_after_any_part_of_the_handshake_only_end_the_connection(
    noise: list[bytes], known: int
) -> None:
    assert run([*HANDSHAKE[:known], *noise]).world.peers == set()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_garbled_conversation_only_ends_the_connection(data: st.DataObject) -> None:
    stream = bytearray(b"".join(CONVERSATION))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(8, len(stream) - 1))] = data.draw(st.integers(0, 255))
    assert run([bytes(stream)]).world.peers == set()


field = (
    st.none() | st.booleans() | st.integers(0, 5).map(UInt) | st.integers(0, 3).map(UShort)
    | st.text(max_size=5)
    | st.sampled_from([source("$cbs"), target("$cbs"), source(READ), target("events"), source("a/b"), 2**40])
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(p.OPEN, p.CLOSE), st.lists(field, max_size=14)), max_size=12
    )
)
def test_well_formed_frames_with_any_fields_only_end_the_connection(
    frames: list[tuple[int, int, list[Any]]],
) -> None:
    said = [performative(channel, code, *fields) for channel, code, fields in frames]
    assert run([*HANDSHAKE, *CBS, *said]).world.peers == set()


@given(st.lists(st.integers(1, 40), min_size=1))
def test_it_does_not_matter_how_the_bytes_are_cut(sizes: list[int]) -> None:
    stream, chunks, at = b"".join(CONVERSATION), [], 0
    for size in sizes * (len(stream) // sum(sizes) + 1):
        chunks.append(stream[at : at + size])
        at += size
    client = run([chunk for chunk in chunks if chunk])
    assert client.errors() == []
    assert client.world.totals.received == 1
