"""Mails, by a real server with STARTTLS and login: who gets them, what they say, and what trouble does."""

from __future__ import annotations

import asyncio
import logging

import pytest
from harness.endpoints import Authority
from harness.mail_server import MailServer

from consumer.errors import ProcessorSettingsError
from consumer.processor import Context, NotYet, Reject, Retry
from processors import email_link
from processors.email import Email

ML = "Microsoft.MachineLearningServices"


@pytest.fixture
def failed_run(event):
    """Makes an event of a run that failed."""

    def make(number=7, **fields):
        run = f"AutoML_{number}"
        data = {"experimentName": "churn", "runId": run, "runStatus": "Failed", "runTags": {"why": "OOM"}}
        known = {"type": f"{ML}.RunStatusChanged", "subject": f"experiments/e/runs/{run}", "data": data}
        return event(sequence_number=number, **{**known, **fields})

    return make


@pytest.fixture
async def make_email(mail_server, authority, tmp_path):
    """Makes processors that log in at the server, and closes them."""
    made = []
    password = tmp_path / "password"
    password.write_text("let me in\n")

    async def make(**settings):
        known = {
            "host": "localhost",
            "port": mail_server.port,
            "ca_file": authority.ca_file,
            "username": "inturn",
            "password_file": password,
            "from": "inturn <inturn@contoso.com>",
            "to": ["ops@contoso.com", "Ada <ada@contoso.com>"],
        }
        email = Email(Email.Settings(**{**known, **settings}))
        made.append(email)
        await email.open()
        return email

    yield make
    for email in made:
        await email.close()


def text_of(mail) -> str:
    return mail.message.get_body(("plain",)).get_content().replace("\r\n", "\n")


async def test_a_failed_run_is_a_mail_with_a_link_to_it(mail_server, make_email, handle, failed_run):
    await handle(await make_email(bcc=["audit@contoso.com"]), [failed_run()])
    (mail,) = mail_server.mails
    assert mail.sender == "inturn@contoso.com"
    assert mail.recipients == ["ops@contoso.com", "ada@contoso.com", "audit@contoso.com"]
    assert mail.message["To"] == "ops@contoso.com, Ada <ada@contoso.com>"
    assert mail.message["Bcc"] is None
    assert mail.message["Subject"] == "Run failed: AutoML_7 of churn"
    assert mail.message["Message-ID"] == "<key-id-7@contoso.com>"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    text = text_of(mail)
    assert "Workspace: w\n" in text
    assert "Run tags, why: OOM\n" in text
    workspace = "/subscriptions/s/resourcegroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    assert f"\nhttps://ml.azure.com/runs/AutoML_7?wsid={workspace}\n" in text


async def test_nothing_is_said_without_tls_and_login(mail_server, make_email, handle, failed_run, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    with pytest.raises(Retry, match="refuses our login") as raised:
        await handle(await make_email(password_file=wrong), [failed_run()])
    assert "guess" not in str(raised.value)
    assert mail_server.mails == []


async def test_a_password_that_changes_in_its_file_is_read_again(
    mail_server, make_email, handle, failed_run, tmp_path
):
    path = tmp_path / "rotating"
    path.write_text("old")
    email = await make_email(password_file=path)
    with pytest.raises(Retry, match="login"):
        await handle(email, [failed_run()])
    path.write_text("let me in")
    await handle(email, [failed_run()], attempt=2)
    assert mail_server.keys == ["key-id-7"]


async def test_a_server_of_an_unknown_issuer_is_told_nothing(make_email, handle, failed_run, tmp_path):
    other = Authority(tmp_path)
    async with MailServer(other.server("localhost"), password="let me in") as impostor:
        email = await make_email(port=impostor.port)
        with pytest.raises(Retry, match="certificate verify failed"):
            await handle(email, [failed_run()])
        assert (impostor.mails, impostor.logins) == ([], 0)


async def test_a_server_of_another_name_is_told_nothing(make_email, handle, failed_run, authority):
    async with MailServer(authority.server("mail.contoso.com"), password="let me in") as other:
        email = await make_email(port=other.port)
        with pytest.raises(Retry, match="Hostname mismatch"):
            await handle(email, [failed_run()])
        assert (other.mails, other.logins) == ([], 0)


async def test_a_server_without_starttls_is_told_nothing(make_email, handle, failed_run):
    async with MailServer() as plain:
        with pytest.raises(Retry, match="STARTTLS"):
            await handle(await make_email(port=plain.port), [failed_run()])
        assert plain.mails == []


async def test_tls_from_the_first_byte(authority, make_email, handle, failed_run):
    async with MailServer(authority.server("localhost"), at_once=True) as server:
        no_login = {"username": None, "password_file": None}
        await handle(await make_email(port=server.port, tls="tls", **no_login), [failed_run()])
        assert server.keys == ["key-id-7"]


async def test_one_connection_is_kept_and_checked_after_it_was_idle(
    mail_server, make_email, handle, failed_run, monkeypatch
):
    email = await make_email()
    for number in range(3):
        await handle(email, [failed_run(number)])
    assert (mail_server.connections, mail_server.logins) == (1, 1)
    monkeypatch.setattr(email_link, "_CHECK_AFTER_IDLE_S", 0)
    mail_server.drop_connections()
    await handle(email, [failed_run(3)])
    assert mail_server.connections == 2
    assert mail_server.keys == [f"key-id-{number}" for number in range(4)]


async def test_a_server_that_is_away_loses_nothing_and_repeats_nothing(
    mail_server, make_email, handle, failed_run
):
    email = await make_email()
    events = [failed_run(number) for number in range(4)]
    await handle(email, events[:1])
    await mail_server.stop()
    with pytest.raises(Retry, match="cannot be used"):
        await handle(email, events)
    await mail_server.start()
    await handle(email, events[1:], attempt=2)
    assert mail_server.keys == [f"key-id-{number}" for number in range(4)]


async def test_a_batch_that_fails_half_way_does_not_repeat_its_first_half(
    mail_server, make_email, handle, failed_run
):
    email = await make_email()
    events = [failed_run(number) for number in range(3)]
    mail_server.answers["MAIL"] = ["250 OK", "451 later"]
    with pytest.raises(Retry, match="451 later"):
        await handle(email, events)
    assert mail_server.keys == ["key-id-0"]
    await handle(email, events, attempt=2)
    assert mail_server.keys == ["key-id-0", "key-id-1", "key-id-2"]


async def test_a_mail_that_is_refused_for_good_is_a_dead_letter_with_the_servers_words(
    mail_server, make_email, handle, failed_run
):
    mail_server.answers["DATA"] = ["554 looks like spam"]
    email = await make_email()
    with pytest.raises(Reject, match="554 looks like spam"):
        await handle(email, [failed_run(1)])
    await handle(email, [failed_run(2)])
    assert mail_server.keys == ["key-id-2"]
    assert mail_server.connections == 1


@pytest.mark.parametrize(
    ("said", "match"), [(["554 no service"], "554 no"), (["220 hi", "550 go", "550 go"], "550 go")]
)
async def test_a_server_that_wants_nothing_of_us_is_tried_again_since_no_mail_is_to_blame(
    handle, failed_run, said, match
):
    has_left = asyncio.Event()

    async def refuse(reader, writer):
        for line in said:
            writer.write(f"{line}\r\n".encode())
            await reader.readline()
        writer.close()
        has_left.set()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        known = {"host": "127.0.0.1", "port": port, "tls": "none", "to": ["ops@contoso.com"]}
        email = Email(Email.Settings(**known, **{"from": "inturn@contoso.com"}))
        await email.open()
        with pytest.raises(Retry, match=match):
            await handle(email, [failed_run()])
        await email.close()
        await has_left.wait()


async def test_a_recipient_that_does_not_exist_keeps_the_mail_from_nobody_else(
    mail_server, make_email, handle, failed_run, caplog
):
    mail_server.always["ada@contoso.com"] = "550 no such user"
    with caplog.at_level(logging.ERROR):
        await handle(await make_email(), [failed_run()])
    (mail,) = mail_server.mails
    assert mail.recipients == ["ops@contoso.com"]
    assert "ada@contoso.com: 550 no such user" in caplog.text


async def test_recipients_who_are_all_refused_make_a_dead_letter(mail_server, make_email, handle, failed_run):
    mail_server.always |= {"ada@contoso.com": "550 unknown", "ops@contoso.com": "550 unknown"}
    with pytest.raises(Reject, match=r"none of the recipients: ops@contoso.com: 550 unknown; ada@"):
        await handle(await make_email(), [failed_run()])


async def test_a_recipient_who_is_refused_for_now_is_waited_for_once_so_that_nobody_gets_it_twice(
    mail_server, make_email, handle, failed_run, caplog
):
    mail_server.always["ada@contoso.com"] = "450 grey"
    email = await make_email()
    with pytest.raises(Retry, match=r"ada@contoso\.com: 450 grey"):
        await handle(email, [failed_run()])
    assert mail_server.mails == []
    await handle(email, [failed_run()], attempt=2)
    assert [mail.recipients for mail in mail_server.mails] == [["ops@contoso.com"]]
    assert "not to everybody" in caplog.text


async def test_a_lost_answer_repeats_the_mail_under_its_old_id(mail_server, make_email, handle, failed_run):
    async def cut_off():
        mail_server.before_answering = None
        mail_server.drop_connections()

    mail_server.before_answering = cut_off
    email = await make_email()
    with pytest.raises(Retry):
        await handle(email, [failed_run()])
    await handle(email, [failed_run()], attempt=2)
    first, second = (mail.message["Message-ID"] for mail in mail_server.mails)
    assert first == second == "<key-id-7@contoso.com>"


async def test_many_lanes_share_one_mail_and_it_goes_at_once_when_it_is_full(
    mail_server, make_email, handle, failed_run
):
    email = await make_email(group_s=3_600, group_max=6)
    async with asyncio.TaskGroup() as lanes:
        for lane in (0, 10, 20):
            lanes.create_task(handle(email, [failed_run(lane), failed_run(lane + 1)]))
    (mail,) = mail_server.mails
    assert mail_server.keys == [f"key-id-{number}" for number in (0, 1, 10, 11, 20, 21)]
    assert mail.message["Subject"] == "6 events: Run failed: AutoML_0 of churn …"
    assert all(f"/runs/AutoML_{number}?" in text_of(mail) for number in (0, 1, 10, 11, 20, 21))


async def test_what_is_more_than_a_mail_tells_in_full_has_a_line_each(
    mail_server, make_email, handle, failed_run
):
    email = await make_email(group_s=0.01, group_max=2, html="<p>{title}</p>")
    await handle(email, [failed_run(number) for number in range(5)])
    (mail,) = mail_server.mails
    assert "3 more:\n\n* Run failed: AutoML_2 of churn\n* Run failed: AutoML_3" in text_of(mail)
    assert "<li>Run failed: AutoML_4 of churn</li>" in mail.message.get_body(("html",)).get_content()
    assert len(mail_server.keys) == 5


def gathered(email) -> int:
    """How many lanes wait for the mail that is open."""
    return len(email._gathering._open.members) if email._gathering._open else 0


async def test_when_the_leader_is_cut_off_the_others_mail_still_goes(
    mail_server, make_email, handle, failed_run, until
):
    email = await make_email(group_s=1)
    async with asyncio.TaskGroup() as lanes:
        leader = lanes.create_task(handle(email, [failed_run(1)]))
        await until(lambda: gathered(email) == 1)
        lanes.create_task(handle(email, [failed_run(2)]))
        await until(lambda: gathered(email) == 2)
        leader.cancel()
    assert mail_server.keys == ["key-id-2"]
    await handle(email, [failed_run(1)], attempt=2)
    assert mail_server.keys == ["key-id-2", "key-id-1"]


async def test_a_leader_that_is_cut_off_while_the_mail_goes_leaves_it_to_the_next_under_the_same_id(
    mail_server, make_email, handle, failed_run, until
):
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hang():
        mail_server.before_answering = None
        reached.set()
        await go_on.wait()

    mail_server.before_answering = hang
    email = await make_email(group_s=3_600, group_max=2)
    async with asyncio.TaskGroup() as lanes:
        leader = lanes.create_task(handle(email, [failed_run(1)]))
        await until(lambda: gathered(email) == 1)
        follower = lanes.create_task(handle(email, [failed_run(2)]))
        await reached.wait()
        leader.cancel()
        await until(follower.done)
        go_on.set()
    first, second = mail_server.mails
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert second.message.get_all("X-Inturn-Key") == ["key-id-1", "key-id-2"]
    await handle(email, [failed_run(1)], attempt=2)
    assert len(mail_server.mails) == 2, "what the leader brought went with the others' mail"


async def test_a_shared_mail_that_is_refused_costs_only_the_event_to_blame(
    mail_server, make_email, handle, failed_run
):
    mail_server.answers["DATA"] = ["554 no"]
    email = await make_email(group_s=0.02)
    events = [failed_run(1), failed_run(2)]

    async def attempt(number, event):
        try:
            await handle(email, [event], number)
        except (Reject, Retry) as error:
            return error
        return None

    first = await asyncio.gather(*(attempt(1, event) for event in events))
    assert all(isinstance(error, Retry) and "a mail of its own" in str(error) for error in first)
    mail_server.answers["DATA"] = ["554 no"]
    second = await asyncio.gather(*(attempt(2, event) for event in events))
    assert [type(error) for error in second] == [Reject, type(None)]
    assert mail_server.keys == ["key-id-2"]


async def test_at_the_limit_events_wait_and_share_the_next_mail(mail_server, authority, handle, failed_run):
    now_s = 1_000.0
    settings = Email.Settings(
        host="localhost",
        port=mail_server.port,
        ca_file=authority.ca_file,
        username="inturn",
        password="let me in",
        **{"from": "inturn@contoso.com"},
        to=["ops@contoso.com"],
        mails_per_hour_max=2,
    )
    email = Email(settings, now_s=lambda: now_s)
    await email.open()
    await handle(email, [failed_run(0)])
    for number in (1, 2):
        with pytest.raises(NotYet, match="limit of 2 mails") as raised:
            await handle(email, [failed_run(number)])
    assert 0 < raised.value.after_s <= 3_600
    now_s += raised.value.after_s
    async with asyncio.TaskGroup() as lanes:
        for number in (1, 2):
            lanes.create_task(handle(email, [failed_run(number)], attempt=2))
    await email.close()
    assert [mail.message.get_all("X-Inturn-Key") for mail in mail_server.mails] == [
        ["key-id-0"],
        ["key-id-1", "key-id-2"],
    ]


async def test_a_preview_is_the_mail_without_sending_it(mail_server, make_email, event):
    email = await make_email()
    said = email.preview(event(), Context("alert", 1, [event()], lambda _: "key"))
    assert said["subject"] == "Model registered: fraud:3"
    assert said["to"] == ["ops@contoso.com", "Ada <ada@contoso.com>"]
    assert "let me in" not in repr(said)
    assert mail_server.connections == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [("ca_file", "ca_file: .* cannot be used"), ("password_file", "password_file: .* cannot be read")],
)
async def test_a_file_that_is_missing_keeps_it_from_opening(make_email, tmp_path, setting, message):
    with pytest.raises(ProcessorSettingsError, match=message):
        await make_email(**{setting: tmp_path / "missing"})
