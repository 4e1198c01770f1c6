"""The Event Hubs source against a local hub, through the real client and a socket."""

from __future__ import annotations

import time


async def test_every_event_of_every_partition_arrives_once_and_in_order(
    local_hub, make_source, running, intake, until
):
    for partition in "0123":
        local_hub.publish("events", *(b"%d" % number for number in range(500)), partition=partition)
    source = make_source()
    async with running(source, intake):
        await until(lambda: intake.total == 2_000)
    assert intake.numbers == {partition: list(range(500)) for partition in "0123"}
    assert intake.bodies["3"] == [b"%d" % number for number in range(500)]
    assert not intake.violations
    assert not intake.owned
