"""The parts of mails that need no server: gathering, the limit, what is remembered, the settings."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from processors.email_gathering import Gathering
from processors.email_limit import MailLimit
from processors.email_settings import EmailSettings
from processors.half_done import HalfDone
from processors.secret_files import SecretFile

HOUR_S = 3_600


@given(
    per_hour=st.integers(1, 40),
    waits_s=st.lists(st.sampled_from([0, 1, 7, 60, 301, 1_800, 3_600]) | st.floats(0, 4_000), max_size=80),
)
def test_there_are_never_more_mails_in_an_hour_than_the_limit_and_the_wait_it_says_is_enough(
    per_hour, waits_s
):
    limit, now_s, sent = MailLimit(per_hour), 0.0, []
    for wait_s in waits_s:
        now_s += wait_s
        due_s = limit.wait_s(now_s)
        assert due_s <= HOUR_S
        # What may not go at once goes as soon as it may.
        now_s += due_s
        assert limit.wait_s(now_s) < 1e-6
        limit.take(now_s)
        sent.append(now_s)
        assert sum(time > now_s - HOUR_S + 1e-3 for time in sent) <= per_hour


def test_half_of_an_hours_mails_may_go_at_once():
    limit = MailLimit(20)
    for _ in range(10):
        assert limit.wait_s(50) == 0
        limit.take(50)
    assert limit.wait_s(50) > 0


def test_what_was_not_sent_after_all_does_not_count():
    limit = MailLimit(1)
    limit.take(0)
    limit.give_back()
    assert limit.wait_s(0) == 0


def test_without_a_limit_nobody_waits():
    limit = MailLimit(None)
    for _ in range(1_000):
        limit.take(0)
    assert limit.wait_s(0) == 0


class Deliveries:
    """What was delivered, and what becomes of it."""

    def __init__(self) -> None:
        self.all: list[list[int]] = []
        self.error: Exception | None = None
        self.going = asyncio.Event()
        self.go_on: asyncio.Event | None = None

    async def __call__(self, things: list[int]) -> None:
        self.all.append(list(things))
        self.going.set()
        if self.go_on is not None:
            await self.go_on.wait()
        if self.error is not None:
            raise self.error


async def test_a_delivery_that_fails_fails_for_everybody_each_with_an_error_of_its_own():
    deliver = Deliveries()
    deliver.error = ConnectionError("away")
    gathering = Gathering(deliver, count_max=3)
    errors = await asyncio.gather(
        *(gathering.bring([number], 60) for number in range(3)), return_exceptions=True
    )
    assert [str(error) for error in errors] == ["away"] * 3
    assert len({id(error) for error in errors}) == 3
    assert deliver.all == [[0, 1, 2]]


async def test_who_comes_while_a_delivery_goes_is_in_the_next_one():
    deliver = Deliveries()
    deliver.go_on = asyncio.Event()
    gathering = Gathering(deliver, count_max=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gathering.bring([1, 2], 60))
        await deliver.going.wait()
        tasks.create_task(gathering.bring([3, 4], 60))
        deliver.go_on.set()
    assert deliver.all == [[1, 2], [3, 4]]


@given(
    lanes=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 4), st.none() | st.integers(0, 8)), max_size=8
    ),
    turns=st.integers(0, 4),
    count_max=st.integers(1, 8),
)
def test_whoever_is_cut_off_whenever_nothing_is_lost_and_nobody_waits_for_ever(lanes, turns, count_max):
    """Lanes bring things after some turns of the loop, and some are cut off after some more."""
    delivered: list[list[int]] = []

    async def deliver(things):
        for _ in range(turns):
            await asyncio.sleep(0)
        delivered.append(things)

    async def lane(gathering, things, after):
        for _ in range(after):
            await asyncio.sleep(0)
        await gathering.bring(things, 0.001)

    async def run():
        gathering = Gathering(deliver, count_max=count_max)
        names = iter(range(1_000))
        brought = [[next(names) for _ in range(count)] for count, _, _ in lanes]
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(lane(gathering, things, after))
                for things, (_, after, _) in zip(brought, lanes, strict=True)
            ]
            for turn in range(10):
                for task, (_, _, cut_off) in zip(tasks, lanes, strict=True):
                    if cut_off == turn:
                        task.cancel()
                await asyncio.sleep(0)
        return [things for things, task in zip(brought, tasks, strict=True) if not task.cancelled()]

    finished = asyncio.run(run())
    told = [thing for things in delivered for thing in things]
    for things in finished:
        assert any(delivery[at : at + len(things)] == things for delivery in delivered for at in range(99))
    assert len(told) == len(set(told)), "a delivery that ended is never made again"


def test_what_a_failed_batch_did_is_left_out_of_the_next_attempt(event):
    done = HalfDone()
    events = [event(sequence_number=number) for number in range(3)]
    done.note(events[0], "a")
    assert done.left(events, ["a", "b", "c"]) == [(events[1], "b"), (events[2], "c")]
    done.forget(events, ["a", "b", "c"])
    assert len(done) == 0


def test_two_events_of_one_key_are_two(event):
    done = HalfDone()
    done.note(event(sequence_number=1), "same")
    assert done.left([event(sequence_number=2)], ["same"]) != []


def test_what_is_remembered_is_bounded(event):
    done = HalfDone(remembered_max=10)
    for number in range(100):
        done.note(event(sequence_number=number), "key")
    assert len(done) == 10


def settings_with(**fields):
    known = {"host": "mail.contoso.com", "from": "inturn@contoso.com", "to": ["ops@contoso.com"]}
    return EmailSettings.model_validate({**known, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tls": "none"}, "possible only to this machine"),
        ({"to": []}, "nobody gets the mails"),
        ({"username": "u"}, "belong together"),
        ({"password": "p"}, "belong together"),
        ({"username": "u", "password": "p", "password_file": "f"}, "give only one"),
        ({"subject": "{no}"}, r"the slot \{no\}, which is none(; did you mean \{\w+\}\?|\.) There are "),
        ({"subject": "{xyzzy}"}, r"the slot \{xyzzy\}, which is none\. There are "),
        ({"subject": "{count}"}, "which is none"),
        ({"html": "{title.upper}"}, "which is none"),
        ({"host": "mail.contoso.com\r\nX"}, "match pattern"),
        ({"studio": "http://ml.azure.com"}, "match pattern"),
    ],
)
def test_what_cannot_work_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message) as raised:
        settings_with(**fields)
    assert "p'" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "ops",
        "ops@",
        "@contoso.com",
        "ops@contoso.com, eve@evil.example",
        "ops@contoso.com\r\nBcc: eve@evil.example",
        "Ops\n <ops@contoso.com>",
        "<ops@contoso.com> eve@evil.example",
        "ops@contoso.com>",
        "ops @contoso.com",
        "öps@contoso.com",
        "ops@[127.0.0.1]",
        "",
    ],
)
def test_what_is_no_address_is_refused(address):
    for field in ("to", "cc", "bcc"):
        with pytest.raises(ValidationError, match="should be an address"):
            settings_with(**{field: [address]})


@pytest.mark.parametrize(
    "address", ["ops@contoso.com", "Ops, Team <o.p+s@mail.contoso.co.uk>", '"Ö" <o@localhost>']
)
def test_an_address_may_have_a_name(address):
    assert settings_with(to=[address]).to == (address,)


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465)])
def test_the_port_is_the_usual_one(tls, port):
    assert settings_with(tls=tls).server_port == port


def test_a_secret_is_read_anew_when_its_file_is_swapped(tmp_path):
    first, second, link = tmp_path / "1", tmp_path / "2", tmp_path / "secret"
    first.write_text("one\n")
    second.write_text("two\n")
    link.symlink_to(first)
    secret = SecretFile(link, "password_file")
    assert secret.read() == "one"
    link.unlink()
    link.symlink_to(second)
    assert secret.read() == "two"
