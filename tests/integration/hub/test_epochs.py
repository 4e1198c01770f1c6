"""Who may read a partition: the rules of owner levels, as the real client meets them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from azure.eventhub.exceptions import ConnectionLostError, EventHubError

from consumer.hub import LocalHub

Fixture = Callable[..., Any]


@pytest.fixture(autouse=True)
def one_event(local_hub: LocalHub) -> None:
    local_hub.publish("events", b"event", partition="0")


@pytest.mark.parametrize("level", [3, 4])
async def test_a_stolen_link_ends_the_old_receiver(
    local_hub: LocalHub, receiving: Fixture, level: int
) -> None:
    async with receiving(local_hub, partition_id="0", owner_level=3) as old:
        await old.count(1)
        async with receiving(local_hub, partition_id="0", owner_level=level) as new:
            await new.count(1)
            error = await old.error()
            assert isinstance(error, ConnectionLostError)
            assert "link:stolen" in str(error)
            local_hub.publish("events", b"next", partition="0")
            await new.count(2)
    assert old.bodies == ["event"]
    assert new.errors == []


@pytest.mark.parametrize("level", [None, 0, 2])
async def test_a_lower_level_or_none_is_turned_away(
    local_hub: LocalHub, receiving: Fixture, level: int | None
) -> None:
    async with receiving(local_hub, partition_id="0", owner_level=3) as owner:
        await owner.count(1)
        async with receiving(local_hub, partition_id="0", owner_level=level) as other:
            error = await other.error()
            assert "link:stolen" in str(error)
        local_hub.publish("events", b"next", partition="0")
        await owner.count(2)
    assert (other.events, owner.errors) == ([], [])


async def test_a_receiver_with_a_level_ousts_those_without(local_hub: LocalHub, receiving: Fixture) -> None:
    async with (
        receiving(local_hub, partition_id="0") as first,
        receiving(local_hub, partition_id="0") as second,
    ):
        await asyncio.gather(first.count(1), second.count(1))
        async with receiving(local_hub, partition_id="0", owner_level=0) as owner:
            await owner.count(1)
            errors = await asyncio.gather(first.error(), second.error())
    assert all("link:stolen" in str(error) for error in errors)


async def test_the_partition_is_free_again_when_its_owner_is_gone(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    async with receiving(local_hub, partition_id="0", owner_level=9) as owner:
        await owner.count(1)
    async with receiving(local_hub, partition_id="0") as other:
        await other.count(1)
    assert other.errors == []


async def test_a_sixth_receiver_without_a_level_is_turned_away(
    local_hub: LocalHub, receiving: Fixture
) -> None:
    async with (
        receiving(local_hub, partition_id="0") as a,
        receiving(local_hub, partition_id="0") as b,
        receiving(local_hub, partition_id="0") as c,
        receiving(local_hub, partition_id="0") as d,
        receiving(local_hub, partition_id="0") as e,
    ):
        await asyncio.gather(*(got.count(1) for got in (a, b, c, d, e)))
        async with receiving(local_hub, partition_id="0", retry_total=0) as sixth:
            error = await sixth.error()
    assert isinstance(error, EventHubError)
    assert "resource-limit-exceeded" in str(error)
