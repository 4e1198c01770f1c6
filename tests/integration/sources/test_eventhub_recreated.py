"""A hub made anew while it is read numbers its events from 0 again: none is dropped in silence."""

from __future__ import annotations

import pytest

from consumer.hub import HubSettings, LocalHub, LocalHubSettings

both_paths = pytest.mark.parametrize("receive", ["fast", "sdk"])


pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
ONE = (HubSettings(name="events", partitions=1),)


def publish(hub, count):
    hub.publish("events", *(b"x" for _ in range(count)), partition="0")


@both_paths
@pytest.mark.parametrize("count", [0, 3], ids=["empty", "behind"])
async def test_a_hub_made_anew_halts_the_partition_and_says_so(make_source, running, intake, until, count):
    async with LocalHub(LocalHubSettings(hubs=ONE)) as hub:
        publish(hub, 10)
        source = make_source(connection_string=hub.connection_string("events"))
        async with running(source, intake):
            await until(lambda: intake.total == 10)
            await hub.close()
            async with LocalHub(LocalHubSettings(hubs=ONE, port=hub.port)) as anew:
                publish(anew, count)
                await until(lambda: source.problems and not intake.owned)
                assert "made anew" in source.problems["0"]
    assert intake.numbers == {"0": list(range(10))}
