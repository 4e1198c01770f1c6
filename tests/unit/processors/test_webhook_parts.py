"""What a webhook is signed with, what answers mean, when deliveries may go out."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from consumer.processor import NotYet, Retry
from processors.outbound import Answer
from processors.webhook_answers import RETRY_AFTER_MAX_S, Meaning, meaning_of, retry_after_s
from processors.webhook_handshake import Handshake, Pace, allowed_rate_per_min
from processors.webhook_signature import flaw_of_secrets, signed


def secret(filling: bytes = b"a", length: int = 24) -> str:
    return f"whsec_{base64.b64encode(filling * length).decode()}"


# Signatures.


def test_a_known_message_has_the_known_signature():
    # The example of the specification's own libraries.
    headers = signed(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(key=st.binary(min_size=24, max_size=64), body=st.text().map(str.encode))
def test_receivers_take_what_is_signed_and_nothing_that_was_changed(key, body):
    text = f"whsec_{base64.b64encode(key).decode()}"
    headers = dict(signed(text, "an-id_1", int(time.time()), body))
    Verifier(text).verify(body, headers, json_parse=False)
    for changed in ({"webhook-id": "another"}, {"webhook-timestamp": str(int(time.time()) - 10)}):
        with pytest.raises(WebhookVerificationError):
            Verifier(text).verify(body, {**headers, **changed}, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Verifier(text).verify(body + b" ", headers, json_parse=False)


def test_while_a_secret_is_replaced_receivers_of_either_take_it():
    new, old = secret(b"n"), secret(b"o")
    headers = dict(signed(f"{new}\n{old}", "id", int(time.time()), b"{}"))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for known in (new, old):
        Verifier(known).verify(b"{}", headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(secret(b"x")).verify(b"{}", headers)


def test_without_a_secret_there_is_an_id_and_no_signature():
    assert signed("", "id", 7, b"") == {"webhook-id": "id", "webhook-timestamp": "7"}


@pytest.mark.parametrize(
    "good", [secret(), secret(length=64), f"{secret()}\n{secret(b'b')}", secret(length=25).rstrip("=")]
)
def test_a_secret_of_the_standard_is_taken(good):
    assert flaw_of_secrets(good) is None


@pytest.mark.parametrize(
    ("bad", "flaw"),
    [
        ("", "holds 0 secrets"),
        (" ".join([secret()] * 3), "holds 3 secrets"),
        ("hunter2hunter2", "is no signing secret"),
        (f"{secret()} hunter2", "is no signing secret"),
        ("whsec_!!!!", "there is no Base64"),
        (secret(length=23), "of 23 bytes"),
        (secret(length=65), "of 65 bytes"),
    ],
)
def test_what_is_no_secret_is_refused_without_a_word_of_it(bad, flaw):
    found = flaw_of_secrets(bad)
    assert found is not None
    assert flaw in found
    assert "hunter2" not in found


# Answers.


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ((200, 201, 202, 204, 299), Meaning.DONE),
        ((400, 406, 409, 411, 413, 414, 415, 417, 418, 422, 428, 431, 451), Meaning.REFUSED),
        ((410,), Meaning.GONE),
        ((401, 402, 403, 404, 405, 407, 408, 421, 423, 425, 426, 429), Meaning.LATER),
        ((301, 302, 303, 307, 308), Meaning.LATER),
        ((500, 501, 502, 503, 504, 511, 599), Meaning.LATER),
    ],
)
def test_a_status_means_what_can_be_done_about_it(statuses, meaning):
    assert {meaning_of(status) for status in statuses} == {meaning}


NOW_S = 1_795_240_800.0


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("99999", RETRY_AFTER_MAX_S),
        ("9" * 5_000, RETRY_AFTER_MAX_S),
        (formatdate(NOW_S + 90, usegmt=True), 90.0),
        (formatdate(NOW_S - 90, usegmt=True), 0.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Fri, 99 Foo 2999", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_how_long_to_leave_an_endpoint_alone_is_read_and_capped(text, wait_s):
    found = retry_after_s({"Retry-After": text}, NOW_S)
    assert found is None if wait_s is None else found == pytest.approx(wait_s, abs=1)


def test_an_endpoint_that_names_no_time_is_not_waited_for():
    assert retry_after_s({}, NOW_S) is None


# The handshake.


@pytest.mark.parametrize(
    ("allowed", "rate", "per_min"),
    [
        ("inturn.example.com", "100", 100),
        ("INTURN.example.com ", "100", 100),
        ("*", "*", 0),
        ("*", None, 0),
        (None, "100", None),
        ("other.example.com", "100", None),
        ("evil-inturn.example.com", "*", None),
        ("*, inturn.example.com", "*", None),
        ("*", "0", None),
        ("*", "-5", None),
        ("*", "many", None),
    ],
)
def test_an_endpoint_agrees_by_naming_our_origin_or_any(allowed, rate, per_min):
    given_headers = {"WebHook-Allowed-Origin": allowed, "WebHook-Allowed-Rate": rate}
    headers = {name: value for name, value in given_headers.items() if value is not None}
    assert allowed_rate_per_min(headers, "inturn.example.com") == per_min


async def test_an_endpoint_that_agreed_is_not_asked_again():
    asked = []

    async def agree(question):
        asked.append(dict(question))
        await asyncio.sleep(0)
        return Answer(200, {"WebHook-Allowed-Origin": "*"})

    handshake = Handshake("inturn.example.com", 60, agree)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(handshake.permit())
    assert asked == [{"WebHook-Request-Origin": "inturn.example.com", "WebHook-Request-Rate": "60"}]


async def test_an_endpoint_that_refuses_is_left_alone_for_a_while_and_somebody_is_told(caplog):
    asked, now_s = [], [100.0]

    async def refuse(question):
        asked.append(question)
        return Answer(200, {})  # many answer any OPTIONS so

    handshake = Handshake("inturn.example.com", None, refuse, lambda: now_s[0])
    with caplog.at_level(logging.ERROR):
        for passed_s, count in ((0.0, 1), (29.0, 1), (2.0, 2)):
            now_s[0] += passed_s
            with pytest.raises(Retry, match="the handshake failed"):
                await handshake.permit()
            assert len(asked) == count
    assert len(caplog.records) == 2


async def test_what_an_endpoint_allows_a_minute_is_not_exceeded(monkeypatch):
    now_s, slept = [1000.0], []

    async def sleep(wait_s):
        slept.append(wait_s)

    monkeypatch.setattr("processors.webhook_handshake.asyncio.sleep", sleep)
    pace = Pace(60, lambda: now_s[0])
    for _ in range(11):
        await pace.turn()
    assert slept == [float(n) for n in range(1, 11)]
    with pytest.raises(NotYet) as put_off:
        await pace.turn()
    assert put_off.value.after_s == 11.0
    now_s[0] += 11.0
    await pace.turn()
    assert len(slept) == 10


async def test_a_turn_that_is_given_up_goes_to_the_next_one():
    pace = Pace(1)
    await pace.turn()
    pace._next_s = time.monotonic() + 5.0
    before_s = pace._next_s
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(pace.turn())
        await asyncio.sleep(0)
        assert pace._next_s == before_s + 60.0
        waiting.cancel()
    assert pace._next_s == before_s
