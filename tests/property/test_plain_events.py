"""What is read the short way is what the exact way reads: valid, odd and broken bodies alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.core.admission import Admission
from consumer.core.arrivals import Arrivals
from consumer.core.catalogue import Catalogue, Family, named
from consumer.core.digests import digests_named
from consumer.core.flights import Delivery, Flight, ProcessorPlan, Router
from consumer.core.order_rules import by_number, by_sequencer, by_version
from consumer.core.plain import Columns
from consumer.core.plans import _LAYOUTS_MAX
from consumer.errors import BadData
from consumer.events import OrderedBy, RawBatch, Reason

STORAGE = "/subscriptions/S/providers/Microsoft.Storage/storageAccounts/a"
ML = "/subscriptions/S/providers/Microsoft.MachineLearningServices/workspaces/w"
MINE = Family(
    "mine", ("contoso.*",), named("Sku", prefix="sku/"), (by_version("rev"), by_sequencer("sequencer"))
)
DEEP = Family("deep", ("deep",), named("a", "b"), (by_number(OrderedBy.SEQUENCE_NUMBER, "a", "n"),))


def arrivals(kind: str = "xxh3") -> Arrivals:
    admission = Admission([STORAGE, ML.upper()], ["Microsoft.*", "contoso.*", "deep"])
    router = Router(
        [ProcessorPlan("a", ("microsoft.storage.*",)), ProcessorPlan("b", None, Delivery.ON_ARRIVAL)]
    )
    return Arrivals(Catalogue([MINE, DEEP]), admission, router, digests_named(kind))


def batch_of(body: bytes) -> RawBatch:
    return RawBatch("3", [body], [7], ["70"], [1_000], ["key"], lambda _: {})


def told(flight: Flight) -> dict[str, Any]:
    """All that the pipeline and the processors can see."""
    event = flight.event
    assert event is not None
    names = ("id", "type", "topic", "subject", "schema", "ticks", "enqueued_time_ms", "position", "object_id")
    more = (
        "object_key",
        "order_token",
        "event_time",
        "original",
        "partition_key",
        "stale",
        "is_latest",
        "data",
    )
    seen = {name: repr(getattr(event, name)) for name in names + more}
    of_flight = (
        "verdict",
        "identity",
        "print",
        "object_key",
        "packed",
        "size",
        "event_type",
        "on_arrival",
        "in_turn",
    )
    return seen | {f"flight.{name}": repr(getattr(flight, name)) for name in (*of_flight, "position")}


LAZY = {Reason.DUPLICATE_KEY}
"""What may show only when the data is asked for."""


def agree(body: bytes, kind: str = "xxh3") -> bool:
    """Compare; gives whether the body was read the short way."""
    reader, batch = arrivals(kind), batch_of(body)
    short = reader._plain.read(Columns(batch), 0)
    if short is None:
        return False
    (exact,) = reader.exactly(batch, 0)
    if exact.rejection is None:
        assert told(short) == told(exact)
        return True
    assert exact.rejection.reason in LAZY
    assert short.event is not None
    with pytest.raises(BadData) as caught:
        _ = short.event.data
    assert caught.value.reason is exact.rejection.reason
    return True


texts = st.one_of(
    st.sampled_from(
        ["a", "0", "00f1", "00F1", "\u00e9", "a/b", 'q"q', "back\\slash", "\0", "\U0001f600", "\u0130"]
    ),
    st.text(max_size=4),
)
types = st.sampled_from(
    [
        "Microsoft.Storage.BlobCreated",
        "MICROSOFT.STORAGE.blobcreated",
        "Microsoft.MachineLearningServices.RunCompleted",
        "Microsoft.MachineLearningServices.RunStatusChanged",
        "Microsoft.MachineLearningServices.ModelRegistered",
        "Microsoft.MachineLearningServices.DatasetDriftDetected",
        "Microsoft.AppConfiguration.KeyValueModified",
        "Microsoft.Devices.DeviceConnected",
        "Microsoft.EventGrid.SubscriptionValidationEvent",
        "contoso.sold",
        "deep",
        "other",
    ]
)
times = st.one_of(
    st.sampled_from(
        [
            "2026-11-21T06:00:00.1234567Z",
            "2026-11-21T06:00:00Z",
            "2026-11-21T06:00:00.12Z",
            "2026-11-21T06:00:00.1234567z",
            "2026-11-21T06:00:00.12345678Z",
            "2026-11-21 06:00:00.1234567Z",
            "2026-11-21T06:00:00+02:00",
            "2026-11-21T06:00:00.123456+02",
            "1960-01-01T00:00:00.0000001Z",
            "2026-11-21T06:00:60.1234567Z",
            "2026-11-21T06:00:00.12345\u0663\u0663Z",
            "0000-01-01T00:00:00.0000000Z",
            "",
        ]
    ),
    st.text(alphabet="0123456789-:T.Z+ ", min_size=17, max_size=29),
)
KEYS = (
    *(
        "etag",
        "eTag",
        "ETAG",
        "sequencer",
        "Sequencer",
        "runId",
        "RunId",
        "runStatus",
        "modelName",
        "MODELNAME",
    ),
    *(
        "modelVersion",
        "ModelVersion",
        "dataDriftId",
        "endTime",
        "syncToken",
        "sku",
        "REV",
        "a",
        "\u017fequencer",
    ),
)
values: st.SearchStrategy[Any] = st.one_of(
    texts,
    times,
    st.sampled_from(
        ['W/"1"', '"0x8D"', '""', "zAJw6V16=MDox;sn=42", "Completed", "12", "9" * 19, "{}", "[1]"]
    ),
    st.integers(-(2**70), 2**70),
    st.integers(0, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([None, True, False, [], {}, {"b": "x", "n": 3}, {"etag": "inner"}]),
)
datas = st.one_of(st.dictionaries(st.sampled_from(KEYS), values, max_size=5), values)


@st.composite
def elements(draw: st.DrawFn) -> dict[str, Any]:
    is_cloud = draw(st.booleans())
    names = (
        ("source", "subject", "type", "id", "data", "time")
        if is_cloud
        else ("topic", "subject", "eventType", "id", "data", "eventTime")
    )
    topics = st.sampled_from([STORAGE, STORAGE.upper(), STORAGE + "/", ML, "/other", ""])
    parts = zip(names, (topics, texts, types, texts, datas, times), strict=True)
    element = {name: draw(strategy) for name, strategy in parts}
    element |= {"specversion": "1.0"} if is_cloud else {"dataVersion": "", "metadataVersion": "1"}
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):  # something is odd about it
        name = draw(st.sampled_from([*element, "datacontenttype", "x"]))
        if draw(st.booleans()):
            element.pop(name, None)
        else:
            element[name] = draw(values)
    items = list(element.items())
    return dict(draw(st.permutations(items)) if draw(st.booleans()) else items)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    element = draw(elements())
    value = draw(st.sampled_from([[element], [element], element, [element, element]]))
    ascii_, indent = draw(st.booleans()), draw(st.sampled_from([None, None, None, 1]))
    text = json.dumps(
        value, ensure_ascii=ascii_, separators=(",", ":") if indent is None else None, indent=indent
    )
    return text.encode("utf-8", "surrogatepass")


@given(bodies(), st.sampled_from(["xxh3", "blake2b"]))
def test_what_is_read_the_short_way_is_what_the_exact_way_reads(body: bytes, kind: str) -> None:
    agree(body, kind)


FRAGMENTS = [
    *(
        b'"id":"2",',
        b'"topic":"/t",',
        b'"x":1,',
        b'"x":NaN,',
        b" ",
        b"\n",
        b",",
        b"\xff",
        b"\xc3\xa9",
        b"\\u0041",
    ),
    *(
        b"\\",
        b'\\"',
        b"[",
        b"]",
        b"{",
        b"}",
        b"[[[[[",
        b"1e999",
        b"NaN",
        b"null",
        b'"',
        b'"etag":"2",',
        b"\0",
    ),
    *(b'"etag":"2","etag":"3",', b'"a":1e999,', b'"data":{},', b'"dataVersion":"",', b"[" * 40 + b"]" * 40),
]


@given(
    bodies(),
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(FRAGMENTS), st.integers(0, 3)), max_size=2),
)
@example(b"", [])
def test_broken_bodies_are_never_taken_for_others(body: bytes, cuts: list[tuple[int, bytes, int]]) -> None:
    for place, fragment, removed in cuts:
        at = place % (len(body) + 1)
        body = body[:at] + fragment + body[at + removed :]
    agree(body)


PLAIN = {
    "id": "1",
    "topic": STORAGE,
    "subject": "/blobServices/default/containers/c/blobs/b",
    "eventType": "Microsoft.Storage.BlobCreated",
    "eventTime": "2026-11-21T06:00:00.1234567Z",
    "data": {"eTag": "0x8D", "sequencer": "00ff"},
    "dataVersion": "",
    "metadataVersion": "1",
}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "body",
    [
        compact([PLAIN]),
        compact(PLAIN),
        compact([PLAIN | {"subject": "\u00e9\U0001f600"}]),
        compact([{key: value for key, value in PLAIN.items() if not key.endswith("Version")}]),
        compact([PLAIN | {"eventType": "contoso.sold", "data": {"SKU": "x", "Rev": 3}}]),
        compact([PLAIN | {"eventType": "Microsoft.MachineLearningServices.ModelRegistered", "topic": ML}]),
        compact([PLAIN]).replace(b'"00ff"', b'"00ff","sequencer":"00fe"'),
        compact([PLAIN]).replace(b'"00ff"', b'"00ff","t":"\\"a\\" \\\\n"'),
    ],
)
def test_what_event_grid_writes_is_read_the_short_way(body: bytes) -> None:
    assert agree(body)


@pytest.mark.parametrize(
    "body",
    [
        compact([PLAIN]).replace(b'{"id":"1"', b'{"id":"1","id":"1"'),
        compact([PLAIN]).replace(b'{"id":"1"', b'{"id":"2","id":"1"'),
        compact([PLAIN]).replace(b'{"id":"1"', b'{"id":"\\u0031"'),
        compact([PLAIN | {"x": 1}]),
        compact([PLAIN]).replace(b'"00ff"', b'"00ff","n":1e999'),
        compact([PLAIN, PLAIN]),
        compact([PLAIN | {"data": {"a": 0}}]).replace(b"0}", b"[" * 30 + b"]" * 30 + b"}"),
        compact([PLAIN | {"data": {"a": 0}}]).replace(b"0}", b'"\xff"}'),
        compact([PLAIN | {"data": {"a": 0}}]).replace(b"0}", b'"\\ud800"}'),
        json.dumps([PLAIN]).encode(),
        b"[" + compact([PLAIN])[1:-1] + b" ]",
    ],
)
def test_what_is_refused_or_written_otherwise_takes_the_exact_way(body: bytes) -> None:
    assert not agree(body)


CLOUD = {
    "id": "1",
    "source": STORAGE,
    "specversion": "1.0",
    "type": "Microsoft.Storage.BlobCreated",
    "subject": "/blobServices/default/containers/c/blobs/b",
    "time": "2026-11-21T06:00:00.1234567Z",
    "data": {"eTag": "0x8D", "sequencer": "00ff"},
}


def test_two_schemas_that_begin_alike_are_told_apart() -> None:
    reader = arrivals()
    bodies = [compact([PLAIN]), compact([CLOUD]), compact([CLOUD]), compact([PLAIN])]
    assert len({body[:7] for body in bodies}) == 1

    for body in bodies:
        ((flight,),) = reader.of(batch_of(body))
        (exact,) = reader.exactly(batch_of(body), 0)
        assert told(flight) == told(exact)

    assert reader._plain.read(Columns(batch_of(compact([CLOUD]))), 0) is not None
    assert reader._plain.read(Columns(batch_of(compact([PLAIN]))), 0) is not None


@pytest.mark.parametrize(
    "first", ["topic", "subject", "eventType", "eventTime", "id", "data", "dataVersion", "metadataVersion"]
)
def test_either_schema_is_read_the_short_way_whatever_comes_first(first: str) -> None:
    reader = arrivals()
    in_cloud = {"topic": "source", "eventType": "type", "eventTime": "time", "dataVersion": "specversion"}
    grid_body = compact({first: PLAIN[first]} | PLAIN)
    cloud_first = in_cloud.get(first, first)
    cloud_body = (
        compact({cloud_first: CLOUD[cloud_first]} | CLOUD) if cloud_first in CLOUD else compact(CLOUD)
    )

    for body in [grid_body, cloud_body, grid_body, cloud_body, b"[" + cloud_body + b"]", grid_body]:
        ((flight,),) = reader.of(batch_of(body))  # the first of another schema may take the exact way
        (exact,) = reader.exactly(batch_of(body), 0)
        assert told(flight) == told(exact)

    for body in [grid_body, cloud_body]:
        assert reader._plain.read(Columns(batch_of(body)), 0) is not None


def test_a_message_about_the_subscription_is_told_from_events_beside_it_that_share_their_properties() -> None:
    event, deletion = {"aeg-event-type": "Notification"}, {"aeg-event-type": "SubscriptionDeletion"}
    given = [{}, event, event, deletion, deletion, event, {}]
    columns = [compact([PLAIN])] * 7, list(range(7)), ["0"] * 7, [1_000] * 7, [None] * 7
    flights = arrivals().of(RawBatch("3", *columns, given.__getitem__))

    assert [flight.verdict is None for (flight,) in flights] == [each is not deletion for each in given]


def test_keys_are_found_in_every_order_and_in_more_layouts_than_are_remembered() -> None:
    reader = arrivals()
    same = [{"ETAG": "1", "Etag": "2"}, {"Etag": "2", "ETAG": "1"}]
    many = [{f"k{number}": 0, "sequencer": "00ff"} for number in range(_LAYOUTS_MAX + 2)]

    for data in [*same, *same, {}, same[0] | {"etag": "3"}, *many, *same, *many[:2]]:
        body = compact([PLAIN | {"data": data}])
        ((flight,),) = reader.of(batch_of(body))
        (exact,) = reader.exactly(batch_of(body), 0)
        assert told(flight) == told(exact)


@pytest.mark.parametrize(
    "copy",
    [
        b'{ "a": "q\\"q u/", "b": 1.50 }',
        b'{"a":"q\\"q \\u0075/","b":1.5}',
        b'{"a":"q\\"q u\\/","b":1.5}',
    ],
)
def test_a_copy_written_with_blanks_or_other_escapes_has_the_same_digest(copy: bytes) -> None:
    digests = digests_named("xxh3")
    data = b'{"a":"q\\"q u/","b":1.5}'
    if b"1.50" in copy:  # blanks go, numbers stay as they are written
        data = data.replace(b"1.5", b"1.50")

    assert digests.data(copy, json.loads(copy)) == digests.data(data, json.loads(data))
