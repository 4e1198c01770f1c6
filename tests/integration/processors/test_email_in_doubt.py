"""Mails of several events whose fate nobody knows: what is sent again is the same mail."""

from __future__ import annotations

import asyncio

import pytest
from harness.mail_server import MailServer

from consumer.processor import Reject, Retry
from processors.email import Email

ML = "Microsoft.MachineLearningServices"


@pytest.fixture
def failed_run(event):
    """Makes an event of a run that failed."""

    def make(number):
        data = {"experimentName": "churn", "runId": f"run_{number}", "runStatus": "Failed"}
        subject = f"experiments/e/runs/run_{number}"
        return event(sequence_number=number, type=f"{ML}.RunStatusChanged", subject=subject, data=data)

    return make


async def opened(port, **settings):
    known = {"host": "127.0.0.1", "port": port, "tls": "none", "to": ["ops@contoso.com"]}
    email = Email(Email.Settings(**known, **settings, **{"from": "inturn@contoso.com"}))
    await email.open()
    return email


def ids(server):
    return [(mail.message["Message-ID"], mail.message.get_all("X-Inturn-Key")) for mail in server.mails]


async def failing(handle, email, event):
    with pytest.raises(Retry):
        await handle(email, [event])


async def lose_the_answer_on_two(handle, email, server, failed_run):
    async def cut_off():
        server.before_answering = None
        server.drop_connections()

    server.before_answering = cut_off
    async with asyncio.TaskGroup() as lanes:
        for number in (1, 2):
            lanes.create_task(failing(handle, email, failed_run(number)))


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (3, 2, 1), (1, 3, 2)])
@pytest.mark.parametrize("is_busy", [False, True])
async def test_after_a_lost_answer_a_shared_mail_is_sent_again_as_it_was(handle, failed_run, order, is_busy):
    async with MailServer() as server:
        email = await opened(server.port, group_s=0.1, group_max=2)
        await lose_the_answer_on_two(handle, email, server, failed_run)
        if is_busy:
            server.answers["DATA"] = ["451 later"]
            await failing(handle, email, failed_run(order[-1]))
        async with asyncio.TaskGroup() as lanes:
            for number in order:
                lanes.create_task(handle(email, [failed_run(number)], attempt=2))
        await email.close()
        shared, *others = ids(server)
        assert shared in others
        assert sorted(key for _, keys in others for key in keys) == [f"key-id-{n}" for n in sorted(order)]


async def test_a_mail_in_doubt_that_is_refused_for_good_costs_only_the_event_to_blame(handle, failed_run):
    async with MailServer() as server:
        email = await opened(server.port, group_s=0.1, group_max=2)
        await lose_the_answer_on_two(handle, email, server, failed_run)
        server.answers["DATA"] = ["554 no", "554 no"]
        await failing(handle, email, failed_run(1))
        with pytest.raises(Reject, match="554"):
            await handle(email, [failed_run(1)], attempt=3)
        await handle(email, [failed_run(2)], attempt=3)
        await email.close()
        assert [keys for _, keys in ids(server)] == [["key-id-1", "key-id-2"], ["key-id-2"]]
