"""What the real client sends is in the hub as planned: bodies, properties, keys, and each key's order."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consumer.cli import app
from consumer.errors import SourceUnavailable
from consumer.hub import HubSettings, LocalHub, LocalHubSettings, LoggedEvent
from consumer.hub.placement import partition_of
from consumer.samples import sender
from consumer.samples.messages import Intent, Trace
from consumer.samples.sender import Progress, open_sender, send_trace, trickle
from consumer.samples.trace import plan
from consumer.samples.truth import Rules, reckon

HUB = "events"
PARTITIONS = 4
WINDOW_S = 0.4


def contents(hub: LocalHub) -> dict[str, list[LoggedEvent]]:
    return {str(index): hub.log(HUB, str(index)) for index in range(PARTITIONS)}


@pytest.fixture(scope="module")
def trace() -> Trace:
    return plan(21, 1_500)


async def test_the_hub_holds_the_plan_in_the_order_of_every_key(local_hub: LocalHub, trace: Trace) -> None:
    steps: list[Progress] = []

    sent = await send_trace(trace, local_hub.connection_string(), HUB, steps.append, window_s=0)

    planned, found = defaultdict(list), defaultdict(list)
    for message in trace.messages:
        planned[message.partition_key].append((message.body, dict(message.properties)))
    for partition, events in contents(local_hub).items():
        for event in events:
            properties = {str(key): value for key, value in event.application_properties.items()}
            found[event.partition_key].append((event.body, properties))
            if event.partition_key is not None:
                assert partition == str(partition_of(event.partition_key, PARTITIONS))
    unkeyed = planned.pop(None), found.pop(None)
    assert found == planned
    assert sorted(map(str, unkeyed[1])) == sorted(map(str, unkeyed[0]))
    assert sent == len(trace.messages) == steps[-1].sent == steps[-1].total
    assert [step.sent for step in steps] == sorted(step.sent for step in steps)


async def test_rounds_smaller_than_the_plan_change_nothing_of_the_order(
    local_hub: LocalHub, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "ROUND_MAX", 23)

    await send_trace(trace, local_hub.connection_string(), HUB, window_s=0)

    for key in {message.partition_key for message in trace.messages if message.partition_key}:
        log = local_hub.log(HUB, str(partition_of(key, PARTITIONS)))
        found = [event.body for event in log if event.partition_key == key]
        assert found == [message.body for message in trace.messages if message.partition_key == key]


async def test_what_really_is_in_the_hub_becomes_what_the_plan_meant(
    local_hub: LocalHub, trace: Trace
) -> None:
    await send_trace(trace, local_hub.connection_string(), HUB, window_s=WINDOW_S)

    window_ms = int(WINDOW_S * 1_000)
    truth = reckon(Rules(trace.topics, trace.types, window_ms), contents(local_hub))

    late = sum(message.intent is Intent.LATE for message in trace.messages)
    again = sum(message.intent in (Intent.REDELIVERED, Intent.REPUBLISHED) for message in trace.messages)
    assert sum(truth.outcomes.values()) == trace.events
    assert truth.outcomes["duplicate"] == again
    # On a machine that stands still for a window, something else may come too late as well.
    assert truth.outcomes["stale"] >= late


async def test_a_pause_comes_before_the_late_events(local_hub: LocalHub, trace: Trace) -> None:
    await send_trace(trace, local_hub.connection_string(), HUB, window_s=WINDOW_S)

    first_late = len(trace.phases[0].messages)
    bodies = {message.body for message in trace.messages[first_late:] if message.intent is Intent.LATE}
    events = [event for log in contents(local_hub).values() for event in log]
    times = {
        is_late: [e.enqueued_time_ms for e in events if (e.body in bodies) is is_late]
        for is_late in (True, False)
    }
    earlier = sorted(times[False])[: first_late - 1]
    assert min(times[True]) - max(earlier) >= WINDOW_S * 1_000


async def test_a_batch_that_is_full_is_followed_by_another(local_hub: LocalHub, trace: Trace) -> None:
    big = [
        message._replace(body=b"[" + b" " * 400_000 + b"]", partition_key="one")
        for message in trace.messages[:7]
    ]

    async with open_sender(local_hub.connection_string(), HUB) as opened:
        rounds = [part async for part in opened.send_all(big)]

    assert [len(part) for part in rounds] == [7]
    assert sum(len(log) for log in contents(local_hub).values()) == 7


async def test_a_trickle_goes_on_with_new_objects_until_it_is_cancelled(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_TRICKLE_EVENTS", 100)
    second_trace = asyncio.Event()

    def watch(progress: Progress) -> None:
        assert progress.total is None
        if progress.sent > 150:
            second_trace.set()

    async with asyncio.TaskGroup() as group:
        trickling = group.create_task(
            trickle(local_hub.connection_string(), HUB, watch, window_s=0.01, rate_per_s=2_000, seed=5)
        )
        async with asyncio.timeout(60):
            await second_trace.wait()
        trickling.cancel()

    ids = [
        json.loads(e.body)[0]["id"]
        for log in contents(local_hub).values()
        for e in log
        if b'"id"' in e.body[:20]
    ]
    assert len(ids) > 20


async def test_an_event_hub_that_is_not_there_is_named(local_hub: LocalHub, trace: Trace) -> None:
    with pytest.raises(SourceUnavailable, match="no event hub named 'nowhere'"):
        await send_trace(trace, local_hub.connection_string(), "nowhere", window_s=0)


async def test_a_wrong_key_is_refused_in_one_line(trace: Trace) -> None:
    settings = LocalHubSettings(hubs=(HubSettings(name=HUB),), key="cmlnaHQ=")
    async with LocalHub(settings) as hub:
        text = hub.connection_string().replace("cmlnaHQ=", "d3Jvbmc=")
        with pytest.raises(SourceUnavailable, match="refuses us") as caught:
            await send_trace(trace, text, HUB, window_s=0)
    assert "\n" not in str(caught.value)
    assert "d3Jvbmc=" not in str(caught.value)


async def run_send(hub: LocalHub, *options: str) -> Result:
    """Runs the command beside the hub, whose loop must go on."""
    arguments = ["send", "--connection-string", hub.connection_string(), *options]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def test_the_command_sends_what_it_says(local_hub: LocalHub) -> None:
    result = await run_send(local_hub, "--type", "run-failed", "--count", "3", "--seed", "1")

    events = [event for log in contents(local_hub).values() for event in log]
    elements = [json.loads(event.body)[0] for event in events]
    assert result.exit_code == 0, result.output
    assert len(elements) == 3
    for event, element in zip(events, elements, strict=True):
        assert element["data"]["runStatus"].casefold() == "failed"
        assert event.partition_key == element["subject"]
        assert element["id"] in result.output
    assert "3 messages sent to events." in result.output


async def test_the_command_can_leave_the_partition_key_out_and_take_another_topic(
    local_hub: LocalHub,
) -> None:
    topic = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/mine"

    result = await run_send(local_hub, "--type", "model-registered", "--topic", topic, "--no-partition-key")

    (event,) = [event for log in contents(local_hub).values() for event in log]
    assert result.exit_code == 0, result.output
    assert event.partition_key is None
    assert topic in event.body.decode()


async def test_the_command_sends_the_lines_of_a_file_as_they_are(local_hub: LocalHub, tmp_path: Path) -> None:
    lines = [
        '{"id":"1","eventType":"t","subject":"a"}',
        '[{"id":"2","type":"t","subject":"a"}]',
        "",
        "no event",
    ]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(lines))

    result = await run_send(local_hub, "--file", str(file))

    events = [event for log in contents(local_hub).values() for event in log]
    assert result.exit_code == 0, result.output
    assert {(event.body.decode(), event.partition_key) for event in events} == {
        (f"[{lines[0]}]", "a"),
        (lines[1], "a"),
        ("no event", None),
    }
