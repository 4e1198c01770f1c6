"""Forwarding to a hub by the real client: what arrives, where, in what order, and what trouble does to it."""

from __future__ import annotations

import asyncio
import gc
import itertools

import orjson
import pytest

from consumer.errors import ProcessorSettingsError
from consumer.events import ObjectId, Schema
from consumer.hub import HubSettings, LocalHub, LocalHubSettings, ServerLimits
from consumer.processor import Context, Reject, Retry
from processors.forward import Forward, partition_key_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# The client drops broken connections without closing them.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
async def leftovers_of_the_client():
    """Collect them while the loop is there."""
    yield
    gc.collect()
    await asyncio.sleep(0)


@pytest.fixture
async def make_forward(local_hub):
    """Makes processors that forward to the local hub, and closes them."""
    made = []

    async def make(**settings):
        known = {"hub": "events", "connection_string": local_hub.connection_string()}
        forward = Forward(Forward.Settings(**{**known, **settings}))
        made.append(forward)
        await forward.open()
        return forward

    yield make
    for forward in made:
        await forward.close()


@pytest.fixture
def of_object(event):
    """Makes events of objects named by numbers; their order is their sequence number."""
    numbers = itertools.count()

    def make(name, **fields):
        number = fields.pop("sequence_number", next(numbers))
        body = orjson.dumps({"object": name, "number": number, **fields.pop("more", {})})
        return event(
            object_id=ObjectId("t", f"models/{name}"), sequence_number=number, original=body, **fields
        )

    return make


def arrived(hub, name="events", partitions=4):
    """What is in the hub, by partition."""
    return {str(number): hub.log(name, str(number)) for number in range(partitions)}


def all_of(hub, **where):
    return [event for log in arrived(hub, **where).values() for event in log]


def orders(hub, **where):
    """The numbers of every object, in the order in which they lie, for each partition where it has any."""
    found = {}
    for partition, log in arrived(hub, **where).items():
        for each in log:
            body = orjson.loads(each.body)
            found.setdefault((body["object"], partition), []).append(body["number"])
    return found


async def received(hub, count, group="$Default"):
    """Events as the real client reads them."""
    from azure.eventhub.aio import EventHubConsumerClient

    events = []
    client = EventHubConsumerClient.from_connection_string(hub.connection_string("events"), group)

    async def on_event(_, event):
        events.append(event)

    async with asyncio.timeout(20), client, asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(client.receive(on_event, starting_position="-1"))
        while len(events) < count:  # noqa: ASYNC110 - the client has no event to wait for
            await asyncio.sleep(0.02)
        reading.cancel()
    return events


async def test_an_event_arrives_as_it_came_with_its_key_as_message_id(local_hub, make_forward, handle, event):
    await handle(await make_forward(), [event(body=b'[{"id":"id"}]', is_wrapped=True)])
    (got,) = await received(local_hub, 1)
    assert got.body_as_str() == '[{"id":"id"}]'
    assert got.message_id == "key-id-7"
    assert got.content_type == "application/json; charset=utf-8"
    assert got.properties == {
        b"type": b"Microsoft.MachineLearningServices.ModelRegistered",
        b"subject": b"models/fraud:3",
        b"topic": event().topic.encode(),
    }
    assert got.partition_key is not None


async def test_events_of_one_object_are_on_one_partition_in_order_and_objects_are_spread(
    local_hub, make_forward, handle, of_object
):
    forward = await make_forward()
    events = [of_object(number % 20) for number in range(200)]
    await handle(forward, events[:100])
    await handle(forward, events[100:])
    found = orders(local_hub)
    assert len(found) == 20, "an object on two partitions would be there twice"
    assert all(numbers == sorted(numbers) and len(numbers) == 10 for numbers in found.values())
    assert len({partition for _, partition in found}) == 4


async def test_lanes_side_by_side_keep_the_order_of_their_objects(local_hub, make_forward, handle, of_object):
    forward = await make_forward()

    async def lane(name):
        for _ in range(10):
            await handle(forward, [of_object(name), of_object(name)])

    async with asyncio.TaskGroup() as lanes:
        for name in range(8):
            lanes.create_task(lane(name))
    found = orders(local_hub)
    assert len(found) == 8
    assert all(numbers == sorted(numbers) and len(numbers) == 20 for numbers in found.values())


async def test_batches_are_split_by_their_size(local_hub, make_forward, handle, of_object):
    forward = await make_forward()
    large = "x" * 300_000
    await handle(forward, [of_object("one", more={"large": large}) for _ in range(10)])
    ((_, numbers),) = orders(local_hub).items()
    assert len(numbers) == 10
    assert numbers == sorted(numbers)


async def test_an_event_that_is_too_large_is_rejected_alone_and_holds_back_only_its_own_object(
    local_hub, make_forward, handle, of_object
):
    forward = await make_forward()
    events = [
        of_object("a"),
        of_object("b"),
        of_object("b", more={"large": "x" * 1_100_000}),
        of_object("b"),
        of_object("a"),
    ]
    with pytest.raises(Reject, match=r"too large for hub events at 127\.0\.0\.1"):
        await handle(forward, events)
    # As the engine goes on: each by itself.
    outcomes = []
    for each in events:
        try:
            await handle(forward, [each], attempt=1)
        except Reject:
            outcomes.append("rejected")
        else:
            outcomes.append("handled")
    assert outcomes == ["handled", "handled", "rejected", "handled", "handled"]
    found = {name: numbers for (name, _), numbers in orders(local_hub).items()}
    sent = [each.sequence_number for each in events]
    assert found == {"a": [sent[0], sent[4]], "b": [sent[1], sent[3]]}


async def test_a_hub_that_is_away_loses_nothing_and_repeats_only_under_the_same_id(
    local_hub, make_forward, handle, of_object
):
    forward = await make_forward(timeout_s=2)
    events = [of_object(number % 3) for number in range(30)]
    await handle(forward, events[:10])
    local_hub.pause_listening()
    local_hub.faults.drop_connections()
    with pytest.raises(Retry, match="hub events at 127"):
        await handle(forward, events[10:20])
    await local_hub.resume_listening()
    await handle(forward, events[10:20], attempt=2)
    await handle(forward, events[20:])
    got = await received(local_hub, 30)
    assert len({each.message_id for each in got}) == 30
    for numbers in orders(local_hub).values():
        first_seen = list(dict.fromkeys(numbers))
        assert first_seen == sorted(first_seen)


async def test_a_hub_that_says_nothing_is_given_up_in_time_and_asked_anew(
    local_hub, make_forward, handle, of_object
):
    forward = await make_forward(timeout_s=3)
    with local_hub.faults.stall("events"), pytest.raises(Retry):
        await handle(forward, [of_object(1)])
    await handle(forward, [of_object(2)], attempt=2)
    assert [name for name, _ in orders(local_hub)][-1] == 2


async def test_a_busy_hub_is_left_alone_for_a_while(local_hub, make_forward, handle, of_object):
    forward = await make_forward()
    with local_hub.faults.busy("events"), pytest.raises(Retry, match="busy") as raised:
        await handle(forward, [of_object(1)])
    assert raised.value.after_s == 4
    await handle(forward, [of_object(1)], attempt=2)
    assert len(all_of(local_hub)) == 1


async def test_who_is_refused_says_so_and_never_tells_its_key(local_hub, make_forward, handle, of_object):
    forward = await make_forward()
    with local_hub.faults.deny_tokens(), pytest.raises(Retry) as raised:
        await handle(forward, [of_object(1)])
    assert "SharedAccessKey=" not in str(raised.value)


async def test_a_batch_that_fails_half_way_does_not_send_its_first_half_again(
    local_hub, make_forward, handle, of_object, monkeypatch
):
    from azure.eventhub.aio import EventHubProducerClient

    forward = await make_forward(connections=1)
    real, calls = EventHubProducerClient.send_batch, []

    async def second_fails(self, batch, **options):
        calls.append(len(batch))
        if len(calls) == 2:
            raise OSError("connection reset")
        await real(self, batch, **options)

    events = [of_object(name) for name in (1, 2, 3)]
    with monkeypatch.context() as broken:
        broken.setattr(EventHubProducerClient, "send_batch", second_fails)
        with pytest.raises(Retry, match="connection reset"):
            await handle(forward, events)
    assert len(all_of(local_hub)) == 1
    await handle(forward, events, attempt=2)
    assert len(all_of(local_hub)) == 3


async def test_an_attempt_that_is_cut_off_does_no_harm_to_the_next_one(
    local_hub, make_forward, handle, of_object
):
    forward = await make_forward(connections=1)
    await handle(forward, [of_object(0)])
    stalled = local_hub.faults.stall("events")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await handle(forward, [of_object(1)])
    stalled.clear()
    await handle(forward, [of_object(2)])
    numbers = [orjson.loads(each.body)["object"] for each in all_of(local_hub)]
    assert numbers.count(2) == 1


async def test_any_event_can_go_as_a_cloud_event(local_hub, make_forward, handle, event):
    original = orjson.dumps(
        {
            "id": "1",
            "topic": "/subscriptions/s",
            "subject": "models/fraud:3",
            "eventType": "T",
            "eventTime": "2026-11-21T06:00:00Z",
            "data": {"modelName": "fraud"},
        }
    )
    await handle(await make_forward(content="cloudevents"), [event(original=original)])
    (got,) = all_of(local_hub)
    body = orjson.loads(got.body)
    assert (body["specversion"], body["data"]) == ("1.0", {"modelName": "fraud"})


async def test_the_trace_of_a_cloud_event_goes_on(local_hub, make_forward, handle, event):
    original = orjson.dumps({"specversion": "1.0", "traceparent": TRACE, "tracestate": "a=1"})
    await handle(await make_forward(), [event(original=original, schema=Schema.CLOUD_EVENTS)])
    (got,) = all_of(local_hub)
    assert got.application_properties["Diagnostic-Id"] == TRACE
    assert got.application_properties["traceparent"] == TRACE
    assert got.application_properties["tracestate"] == "a=1"


@pytest.mark.parametrize("trace", ["not a trace", 7, None, TRACE + "\r\nx: 1"])
async def test_what_is_no_trace_is_not_passed_on(make_forward, event, trace):
    original = orjson.dumps({"specversion": "1.0", "traceparent": trace})
    made = event(original=original, schema=Schema.CLOUD_EVENTS)
    said = (await make_forward()).preview(made, Context("f", 1, [made], lambda _: "key"))
    assert said["properties"].keys() == {"type", "subject", "topic"}


async def test_a_connection_string_that_changes_in_its_file_is_used_from_then_on(
    local_hub, make_forward, handle, of_object, tmp_path
):
    second = HubSettings(name="events", partitions=4)
    async with LocalHub(LocalHubSettings(hubs=(second,))) as other:
        path = tmp_path / "connection"
        path.write_text(local_hub.connection_string("events"))
        forward = await make_forward(connection_string=None, connection_string_file=path)
        await handle(forward, [of_object(1)])
        path.write_text(other.connection_string("events"))
        await handle(forward, [of_object(2)])
        assert (len(all_of(local_hub)), len(all_of(other))) == (1, 1)
        await forward.close()


async def test_a_hub_that_takes_less_at_once_gets_less(make_forward, handle, of_object):
    small = LocalHubSettings(
        hubs=(HubSettings(name="events", partitions=1),),
        limits=ServerLimits(message_bytes_max=20_000),
    )
    async with LocalHub(small) as hub:
        forward = await make_forward(connection_string=hub.connection_string())
        await handle(forward, [of_object("o", more={"x": "y" * 8_000}) for _ in range(5)])
        with pytest.raises(Reject, match="too large"):
            await handle(forward, [of_object("o", more={"x": "y" * 30_000})])
        assert len(all_of(hub, partitions=1)) == 5
        await forward.close()


async def test_a_secret_that_is_missing_keeps_it_from_opening(make_forward, tmp_path):
    with pytest.raises(ProcessorSettingsError, match="cannot be read"):
        await make_forward(connection_string=None, connection_string_file=tmp_path / "missing")


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ("none", None),
        ("keep", "theirs"),
        ("subject", "models/fraud:3"),
        ("data.ModelName", "fraud"),
        ("data.modelVersion", "3"),
    ],
)
def test_a_partition_key_is_what_it_is_said_to_be(event, rule, key):
    assert partition_key_of(event(partition_key="theirs"), rule) == key


def test_where_a_path_leads_nowhere_the_object_is_the_key(event):
    made = event()
    assert partition_key_of(made, "data.no.such") == partition_key_of(made, "object")
    assert partition_key_of(event(data={"modelName": "x" * 500}), "data.modelName") != "x" * 500


def test_the_key_of_an_object_is_the_same_in_every_version(event):
    assert partition_key_of(event(), "object") == "2107058e6eeeb8fb501bb84c52fa1b96"
