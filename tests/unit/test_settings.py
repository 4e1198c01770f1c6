from pathlib import Path

import pytest
from pydantic import ValidationError

from consumer.composition import fence_after_s
from consumer.errors import ConfigurationError
from consumer.setting_rules import unshared
from consumer.settings import BlobStore, MemoryStore, Settings, SqliteStore

KEY = "Zm9vYmFyc2VjcmV0"
HUB = f"Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=r;SharedAccessKey={KEY}"
BLOB = f"DefaultEndpointsProtocol=https;AccountName=contoso;AccountKey={KEY};EndpointSuffix=core.windows.net"


def settings(**changed):
    least = {
        "source": {"type": "eventhub", "hub": "events", "connection_string": HUB},
        "admission": {"topics": "any"},
        "processors": [{"name": "show", "type": "console"}],
    }
    return Settings.model_validate({**least, **changed})


def source(**given):
    return settings(source={"type": "eventhub", "hub": "events", **given}).source


def test_source_topics_and_processors_are_all_that_must_be_given():
    assert settings().source.start == "earliest"
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({})
    missing = {error["loc"] for error in caught.value.errors() if error["type"] == "missing"}
    assert missing == {("source",), ("admission",), ("processors",)}


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        settings().admin.port = 1


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"type": "sqlite", "path": "s.db"}, SqliteStore(type="sqlite", path=Path("s.db"))),
        (
            {"type": "blob", "container": "inturn", "connection_string": BLOB, "checkpoint_interval_s": 2},
            BlobStore(type="blob", container="inturn", connection_string=BLOB),
        ),
        ({"type": "memory"}, MemoryStore(type="memory")),
    ],
)
def test_dead_letters_are_kept_beside_the_state_by_default(state, expected):
    assert settings(state=state).dead_letters == expected


def test_dead_letters_can_be_kept_elsewhere():
    assert settings(dead_letters={"type": "memory"}).dead_letters == MemoryStore(type="memory")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no way to authenticate"),
        ({"connection_string": HUB, "namespace": "n"}, "a second way to authenticate"),
        ({"connection_string": HUB, "connection_string_file": "f"}, "a second way to authenticate"),
        ({"connection_string": HUB, "credential": "managed_identity"}, "has no effect without namespace"),
        ({"connection_string": HUB, "client_id": "c"}, "has no effect without namespace"),
        ({"connection_string": KEY}, "is not a connection string: it has no endpoint, no sharedaccesskey or"),
        ({"connection_string": f"{HUB};EntityPath=other"}, "is for another hub"),
        ({"connection_string": ""}, "is not a connection string"),
    ],
)
def test_there_is_exactly_one_way_to_authenticate(given, message):
    with pytest.raises(ValidationError, match=message) as caught:
        source(**given)
    assert KEY not in str(caught.value)


def test_an_entity_path_may_name_the_hub_that_is_configured():
    assert (
        source(connection_string=f"{HUB};EntityPath=Events")
        .secret()
        .get_secret_value()
        .startswith("Endpoint")
    )


def test_an_identity_needs_no_secret():
    given = source(namespace="contoso.servicebus.windows.net", credential="managed_identity", client_id="c")
    assert given.secret() is None


def test_a_secret_file_is_read_without_the_white_space_around_it(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"\ufeff{HUB}\n", encoding="utf-8")
    assert source(connection_string_file=file).secret().get_secret_value() == HUB


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\xff" + KEY.encode(), "is not UTF-8"),
        (KEY.encode(), "is not a connection string"),
        (b"x" * 70_000, "too large"),
    ],
)
def test_a_secret_file_that_holds_no_connection_string_is_refused_without_quoting_it(
    tmp_path, content, message
):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        source(connection_string_file=file).secret()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("start", ["earliest", "latest", "2026-11-21T06:30:00Z", "2026-11-21T06:30:00+01:00"])
def test_a_start_is_a_place_or_a_time_with_its_offset(start):
    assert source(connection_string=HUB, start=start).start is not None


@pytest.mark.parametrize(
    "start", ["now", "2026-11-21T06:30:00", "1700000000", 1_700_000_000, "2026-13-01T00:00:00Z"]
)
def test_anything_else_is_no_start(start):
    with pytest.raises(ValidationError, match="should be earliest, latest or a time with its offset"):
        source(connection_string=HUB, start=start)


def test_the_types_to_admit_are_those_that_the_processors_ask_for():
    one = {"name": "a", "type": "console", "types": ["Contoso.A", "Contoso.B.*"]}
    two = {"name": "b", "type": "console", "types": ["Contoso.A"]}
    everything = {"name": "c", "type": "console"}
    assert settings(processors=[one, two]).admitted_types == ("Contoso.A", "Contoso.B.*")
    assert settings(processors=[one, everything]).admitted_types is None
    listed = {"topics": "any", "types": ["Contoso.C"]}
    assert settings(processors=[everything], admission=listed).admitted_types == ("Contoso.C",)


@pytest.mark.parametrize("pattern", ["", "a*b", "**", "a b", "*a"])
def test_a_type_pattern_has_its_star_at_the_end(pattern):
    with pytest.raises(ValidationError):
        settings(processors=[{"name": "a", "type": "console", "types": [pattern]}])


@pytest.mark.parametrize("path", ["dataX", "data.", "orderId", "data..x", "Subject"])
def test_an_object_is_the_subject_or_a_path_into_the_data(path):
    with pytest.raises(ValidationError, match="pattern"):
        settings(catalogue=[{"types": ["a"], "object": path}])


def test_an_order_rule_has_a_path_unless_it_is_the_event_time():
    settings(
        catalogue=[{"types": ["a"], "order": [{"by": "version", "path": "data.v"}, {"by": "event_time"}]}]
    )
    with pytest.raises(ValidationError, match=r"version needs a path, such as data\.version"):
        settings(catalogue=[{"types": ["a"], "order": [{"by": "version"}]}])
    with pytest.raises(ValidationError, match="event_time has no path"):
        settings(catalogue=[{"types": ["a"], "order": [{"by": "event_time", "path": "data.t"}]}])


def test_every_setting_says_what_it_does():
    schema = Settings.model_json_schema()
    silent = [
        f"{name}.{field}"
        for name, model in [("Settings", schema), *schema["$defs"].items()]
        for field, described in model["properties"].items()
        if field != "type" and not {"description", "$ref"} & described.keys()
    ]
    assert silent == []


def test_every_number_has_bounds():
    schema = Settings.model_json_schema()
    unbounded = [
        f"{name}.{field}"
        for name, model in schema["$defs"].items()
        for field, described in model["properties"].items()
        if described.get("type") in {"integer", "number"}
        and not ({"minimum", "exclusiveMinimum"} & described.keys() and "maximum" in described)
    ]
    assert unbounded == []


@pytest.mark.parametrize(
    ("interval_s", "told", "expected"), [(3, None, 15.0), (60, None, 15.0), (1, None, 5.0), (3, 10, 10.0)]
)
def test_an_owner_trusts_itself_for_less_time_than_it_takes_until_others_have_its_partitions(
    interval_s, told, expected
):
    given = settings(
        source={
            "type": "eventhub",
            "hub": "events",
            "connection_string": HUB,
            "load_balancing_interval_s": interval_s,
        },
        state={"type": "memory", "fence_after_s": told},
    )
    assert fence_after_s(given) == pytest.approx(expected)


def test_an_owner_cannot_be_told_to_trust_itself_for_longer():
    with pytest.raises(ValidationError, match=r"fence_after_s \(18\) must be less than 18"):
        settings(
            source={
                "type": "eventhub",
                "hub": "events",
                "connection_string": HUB,
                "load_balancing_interval_s": 3,
            },
            state={"type": "memory", "fence_after_s": 18},
        )


def test_what_only_one_process_can_read_or_write_is_not_shared_by_several():
    refused = {
        "source": {"type": "file", "paths": ["events.jsonl"]},
        "state": {"type": "memory"},
        "dead_letters": {"type": "memory"},
    }
    assert unshared(settings(workers=2)) == []
    for name, part in refused.items():
        message = f"{name} of the type {part['type']} cannot be shared by workers"
        assert unshared(settings(workers=1, **{name: part})) == [message]
        with pytest.raises(ValidationError, match=message):
            settings(workers=2, **{name: part})


@pytest.mark.parametrize("count", [0, 65, "several"])
def test_there_is_a_limit_to_the_number_of_workers(count):
    with pytest.raises(ValidationError, match="workers"):
        settings(workers=count)
