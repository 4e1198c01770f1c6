"""Processors with filters, from their settings to what they are given, through a real engine."""

from __future__ import annotations

import pytest

from consumer.composition import running_processor
from consumer.processor_settings import ProcessorSettings

from .conftest import Recorder, batch, body, versions

EVEN = {"advanced_filters": [{"key": "data.modelVersion", "number_in": [2, 4, 6]}]}
AS_AZ = {"az": ["data.modelVersion NumberIn 2 4 6"]}
AS_ARM = {
    "arm": {
        "advancedFilters": [{"operatorType": "NumberIn", "key": "Data.ModelVersion", "values": [2, 4, 6]}]
    }
}


def filtered(recorder: Recorder, name: str, filter_: object):
    """A processor as the composition makes it of its settings, but for what it does."""
    settings = ProcessorSettings.model_validate({"name": name, "type": "console", "filter": filter_})
    processor = running_processor(settings, "$Default")
    processor.target = recorder
    return processor


@pytest.mark.parametrize("filter_", [EVEN, AS_AZ, AS_ARM], ids=["yaml", "az", "arm"])
async def test_each_processor_is_given_what_its_own_filter_lets_through(bench, filter_):
    even, all_ = Recorder(), Recorder()
    async with bench([filtered(even, "even", filter_), filtered(all_, "all", None)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(6)))
        await it.until(lambda: it.outcomes().get("handled") == 6)

        assert [each.refused for each in it.engine.status().processors] == [3, 0]
    assert even.ids == ["m-2", "m-4", "m-6"]
    assert all_.ids == [f"m-{version}" for version in range(1, 7)]
    assert [each.refused for each in it.engine.status().processors] == [3, 0]  # also when it is given back


async def test_what_everybody_refuses_is_ignored_and_needs_no_slot(bench):
    even = Recorder()
    async with bench([filtered(even, "even", EVEN)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*versions(6)))
        await it.until(lambda: sum(it.outcomes().values()) == 6)

        assert it.outcomes() == {"handled": 3, "ignored:filter": 3}


async def test_an_event_that_a_filter_cannot_read_is_put_aside_and_its_neighbours_go_on(bench, letters):
    twice = (
        body("m", 3)
        .replace(b'"modelVersion": 3', b'"modelVersion": 2, "modelVersion": 3')
        .replace(b": ", b":")
    )
    twice = twice.replace(b", ", b",")  # as Event Grid writes it: read without a look into the data
    even = Recorder()
    async with bench([filtered(even, "even", EVEN)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(body("m", 2), twice, body("m", 4)))
        await it.until(lambda: sum(it.outcomes().values()) == 3)

        assert it.outcomes() == {"handled": 2, "dead_lettered:duplicate_key": 1}
    assert even.ids == ["m-2", "m-4"]
    (letter,) = [each async for each in letters.letters()]
    assert (letter.reason, letter.processor, letter.event_id) == ("duplicate_key", None, "m-3")
    assert letter.original == twice[1:-1]


async def test_a_handover_repeats_nothing_of_what_was_filtered(bench):
    first, second = Recorder(), Recorder()
    bodies = versions(6)
    async with bench([filtered(first, "even", EVEN)]) as it:
        await it.source.intake.assigned("0")
        await it.source.intake.received(batch(*bodies[:4]))
        await it.until(lambda: sum(it.outcomes().values()) == 4)

    async with bench([filtered(second, "even", EVEN)]) as it:
        assert (await it.source.intake.assigned("0")).sequence_number == 3
        await it.source.intake.received(batch(*bodies[4:], first=4))
        await it.until(lambda: sum(it.outcomes().values()) == 2)

    assert first.ids + second.ids == ["m-2", "m-4", "m-6"]
