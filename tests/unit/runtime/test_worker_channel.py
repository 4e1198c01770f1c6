"""Between a supervisor and a worker: reports arrive as they were sent, and the end is noticed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from consumer.runtime.worker_channel import UnreadableReport, WorkerEnd, WorkerPlace, receive, send
from consumer.status import WorkerReport
from consumer.succession import Succession


@pytest.fixture
def report(engine_status, partition_status) -> WorkerReport:
    status = engine_status(partitions=[partition_status(str(number)) for number in range(32)])
    return WorkerReport(status, ["It does not turn."], {("bucket", "log", "handled", "+Inf"): 3.0}, 81)


@pytest.fixture
def place(monkeypatch) -> AsyncIterator[tuple[WorkerPlace, socket.socket]]:
    """A worker's place, whose output may be turned round, and the supervisor's end of its channel."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(WorkerPlace, "speak_directly", lambda _: None)
    yield WorkerPlace("1", theirs.detach(), 1, 2), ours
    ours.close()


@pytest.fixture
async def streams():
    one, other = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=one)
    _, sender = await asyncio.open_unix_connection(sock=other)
    yield reader, sender
    for each in (writer, sender):
        each.close()
        await each.wait_closed()


async def test_reports_arrive_as_they_were_sent(streams, report):
    reader, sender = streams
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(send(sender, report))
        assert [await receive(reader) for _ in range(3)] == [report] * 3


async def test_a_report_that_breaks_off_is_the_end(streams):
    reader, sender = streams
    sender.write((1_000).to_bytes(4) + b"only the beginning")
    sender.close()
    assert await receive(reader) is None


async def test_what_is_no_report_is_refused(streams):
    reader, sender = streams
    sender.write(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="a report of 4294967295 bytes"):
        await receive(reader)


async def test_a_report_of_another_version_does_not_hide_the_next(streams, report):
    reader, sender = streams
    sender.write((4).to_bytes(4) + b"\xa3new")
    await send(sender, report)
    with pytest.raises(UnreadableReport):
        await receive(reader)
    assert await receive(reader) == report


def test_a_supervisor_of_an_earlier_version_says_less_and_is_understood():
    assert WorkerPlace.parse("7:8:9:10") == WorkerPlace("7", 8, 9, 10)


def test_a_place_is_read_as_it_was_written():
    place = WorkerPlace("7", 8, 9, 10)
    assert WorkerPlace.parse(str(place)) == place
    assert place.descriptors == (8, 9, 10)
    told = WorkerPlace("7", 8, 9, 10, Succession.after([Succession.after([]).mark]))
    assert WorkerPlace.parse(str(told)) == told
    for text in ("", "1", "1:2:3", "1:2:3:x", "1:2:3:4:5"):
        with pytest.raises(ValueError, match=r"."):
            WorkerPlace.parse(text)


async def test_a_worker_reports_again_and_again_and_drains_when_the_supervisor_is_gone(place, report):
    its_place, ours = place
    drained = asyncio.Event()
    end = WorkerEnd(its_place, lambda: report, drained.set)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(end.run())
        reader, writer = await asyncio.open_unix_connection(sock=ours.dup())
        assert [await receive(reader) for _ in range(2)] == [report] * 2
        assert not drained.is_set()
        writer.close()
        await writer.wait_closed()
        ours.close()
        await drained.wait()
        await running
    await end.close()  # to nobody, which is no error


async def test_a_worker_drains_when_the_supervisor_was_killed_with_a_report_it_had_not_read(place, report):
    its_place, ours = place
    drained, reported = asyncio.Event(), asyncio.Event()
    end = WorkerEnd(its_place, lambda: report, drained.set)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(end.run())
        asyncio.get_running_loop().add_reader(ours, reported.set)
        await reported.wait()
        asyncio.get_running_loop().remove_reader(ours)
        ours.close()  # with bytes unread: the other end is reset, not ended
        await drained.wait()
        await running
    await end.close()


async def test_the_last_report_is_sent_at_the_end(place, report):
    its_place, ours = place
    end = WorkerEnd(its_place, lambda: report, lambda: None)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(end.run())
        reader, writer = await asyncio.open_unix_connection(sock=ours.dup())
        await receive(reader)
        running.cancel()
        await asyncio.wait((running,))
        await end.close()
        received = []
        while (one := await receive(reader)) is not None:
            received.append(one)
        writer.close()
        await writer.wait_closed()
    assert received[-1:] == [report]


def test_what_a_worker_starts_does_not_inherit_its_channel(place):
    its_place, _ = place
    os.set_inheritable(its_place.channel, True)
    its_place.keep_to_itself()
    assert not os.get_inheritable(its_place.channel)
    os.close(its_place.channel)
