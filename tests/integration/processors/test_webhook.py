"""A webhook and a real HTTPS endpoint: what goes out, and what comes of every kind of answer."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from harness.endpoints import Received
from standardwebhooks import Webhook as Verifier

from consumer.errors import ProcessorSettingsError
from consumer.events import Schema
from consumer.processor import BatchProcessor, Context, NotYet, Reject, Retry
from processors.webhook import BATCH_MAX_BYTES, Webhook

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()


def context(*events, attempt: int = 1) -> Context:
    return Context("hook", attempt, events, lambda event: f"key-{event.id}")


@pytest.fixture
def hook(endpoint, chosen) -> Callable[..., Any]:
    """Opens a webhook to the endpoint; calling it with an event posts it."""

    @asynccontextmanager
    async def opened(path: str = "hook", **given) -> AsyncIterator[Callable]:
        where = {} if "url_file" in given else {"url": endpoint.url + path}
        webhook = Webhook(Webhook.Settings(**where, **chosen, **given))
        await webhook.open()

        async def post(*events, attempt: int = 1) -> None:
            if isinstance(webhook, BatchProcessor):
                await webhook.process_batch(events, context(*events, attempt=attempt))
            else:
                await webhook(events[0], context(*events, attempt=attempt))

        try:
            yield post
        finally:
            await webhook.close()

    return opened


def verified(request: Received, secret: str = SECRET) -> bool:
    Verifier(secret).verify(request.body, dict(request.headers), json_parse=False)
    return True


async def test_an_event_arrives_as_a_signed_cloud_event(hook, endpoint, event):
    async with hook(signing_secret=SECRET) as post:
        await post(event())
    request = endpoint.requests[0]
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert request.headers["webhook-id"] == "key-id-7"
    assert orjson.loads(request.body)["data"] == {"modelName": "fraud", "modelVersion": "3"}
    assert verified(request)


async def test_every_attempt_has_the_same_id_and_its_own_time(hook, endpoint, event, monkeypatch):
    now_s = [1_795_240_800.0]
    monkeypatch.setattr("processors.webhook.time.time", lambda: now_s[0])
    async with hook() as post:
        await post(event())
        now_s[0] += 10
        await post(event(), attempt=2)
    first, second = (request.headers for request in endpoint.requests)
    assert first["webhook-id"] == second["webhook-id"]
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1795240800", "1795240810")


async def test_a_secret_is_replaced_without_a_restart(hook, endpoint, event, tmp_path):
    file = tmp_path / "secret"
    file.write_text(OLD + "\n")
    async with hook(signing_secret_file=file) as post:
        await post(event())
        file.write_text(f"{SECRET}\n{OLD}\n")
        await post(event())
        file.write_text(SECRET)
        await post(event())
    before, between, after = endpoint.requests
    assert verified(before, OLD)
    assert verified(between, OLD)
    assert verified(between)
    assert verified(after)


async def test_a_binary_event_has_its_data_as_the_body(hook, endpoint, event):
    async with hook(body="cloudevents_binary", signing_secret=SECRET) as post:
        await post(
            event(original=b'{"id":"1","topic":"/t","subject":"s p","eventType":"T","data":{"a": 1.0}}')
        )
    request = endpoint.requests[0]
    assert request.body == b'{"a": 1.0}'
    assert request.headers["ce-subject"] == "s%20p"
    assert verified(request)


async def test_an_original_event_arrives_as_event_grid_sends_it(hook, endpoint, event):
    async with hook(body="original") as post:
        await post(event(original=b'{"id" : "1"}'))
        await post(event(original=b'{"id" : "1"}', schema=Schema.CLOUD_EVENTS))
    assert [request.body for request in endpoint.requests] == [b'[{"id" : "1"}]', b'{"id" : "1"}']
    assert endpoint.requests[0].headers["aeg-event-type"] == "Notification"


async def test_a_batch_is_one_request_in_order_with_a_key_of_its_own(hook, endpoint, event):
    async with hook(batch=True, signing_secret=SECRET) as post:
        await post(*(event(id=str(n), original=b'{"id":"%d","data":1}' % n) for n in range(50)))
        await post(event())
    many, one = endpoint.requests
    assert [member["id"] for member in orjson.loads(many.body)] == [str(n) for n in range(50)]
    assert many.headers["Content-Type"].startswith("application/cloudevents-batch+json")
    assert many.headers["webhook-id"] not in {"key-0", "key-49"}
    assert one.headers["webhook-id"] == "key-id-7"
    assert verified(many)


async def test_a_batch_that_is_too_large_is_left_to_be_sent_one_by_one(hook, endpoint, event):
    large = [event(original=b'{"data":"%s"}' % (b"x" * (BATCH_MAX_BYTES // 2))) for _ in range(3)]
    async with hook(batch=True) as post:
        with pytest.raises(Reject, match="together the events have more than"):
            await post(*large)
        await post(large[0])
    assert len(endpoint.requests) == 1


async def test_headers_of_the_operator_go_along_from_files_as_they_are_now(hook, endpoint, event, tmp_path):
    file = tmp_path / "token"
    file.write_text("Bearer one\n")
    async with hook(headers={"X-Team": "ml"}, header_files={"Authorization": file}) as post:
        await post(event())
        file.write_text("Bearer two\n")
        await post(event())
        file.write_text("Bearer three\r\nX-Evil: 1")
        with pytest.raises(
            ProcessorSettingsError, match="its file has a character that a header cannot have"
        ):
            await post(event())
    assert [request.headers["Authorization"] for request in endpoint.requests] == ["Bearer one", "Bearer two"]
    assert endpoint.requests[0].headers["X-Team"] == "ml"


async def test_a_url_may_be_a_secret_and_is_read_from_its_file(hook, endpoint, event, tmp_path):
    file = tmp_path / "url"
    file.write_text(f"{endpoint.url}one?sig=a%2Fb\n")
    async with hook(url_file=file) as post:
        await post(event())
        file.write_text(f"{endpoint.url}two?sig=cd")
        await post(event())
        file.write_text("https://evil.example/two?sig=hunter2")
        with pytest.raises(Retry, match=r"^the URL ") as refusal:
            await post(event())
    assert [request.path for request in endpoint.requests] == ["/one?sig=a%2Fb", "/two?sig=cd"]
    assert "hunter2" not in str(refusal.value)


async def test_an_event_fills_its_own_part_of_the_url_and_no_other(hook, endpoint, event):
    async with hook("models/{data.modelName}?subject={subject}&v={model_version|none}") as post:
        await post(event(subject="a/b:3&x=1#f\u00e9"))
        for name in ("..", ".", "", "a/../../admin", "a\\..\\admin", "a\r\nHost: evil", "x" * 2_000, None):
            with pytest.raises(Reject):
                await post(event(data={"modelName": name}))
        await post(event(data={"modelName": "a b?c=d#e@evil.example:22"}, subject="s"))
    assert [request.path for request in endpoint.requests] == [
        "/models/fraud?subject=a%2Fb%3A3%26x%3D1%23f%C3%A9&v=3",
        "/models/a%20b%3Fc%3Dd%23e%40evil.example%3A22?subject=s&v=none",
    ]


# Answers.


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_what_the_endpoint_cannot_take_is_put_aside(hook, endpoint, event, status):
    endpoint.answers(status)
    async with hook() as post:
        with pytest.raises(Reject, match=f"^the endpoint answered {status}$"):
            await post(event())


@pytest.mark.parametrize("status", [302, 401, 403, 404, 408, 425, 500, 502])
async def test_what_may_heal_or_be_mended_is_tried_again(hook, endpoint, event, status):
    endpoint.answers(status)
    async with hook() as post:
        with pytest.raises(Retry, match=f"^the endpoint answered {status}"):
            await post(event())


async def test_after_410_nothing_is_sent_any_more_and_somebody_is_told_once(hook, endpoint, event, caplog):
    endpoint.answers(410)
    async with hook() as post:
        with caplog.at_level(logging.ERROR):
            lanes = (post(event(id=name)) for name in "ab")
            assert {type(end) for end in await asyncio.gather(*lanes, return_exceptions=True)} == {Reject}
            for _ in range(3):
                with pytest.raises(Reject, match="410 Gone"):
                    await post(event())
    assert len(endpoint.requests) == 2
    assert len(caplog.records) == 1
    assert "gone for good" in caplog.text
    assert "processor=hook " in caplog.text
    endpoint.answers(204)
    async with hook() as post:  # another process, or a redrive
        await post(event())


async def test_410_at_an_address_of_one_event_is_about_that_event_alone(hook, endpoint, event):
    endpoint.answers(410, 204)
    async with hook("models/{model}") as post:
        with pytest.raises(Reject, match="at the event's own address"):
            await post(event())
        await post(event())
    assert len(endpoint.requests) == 2


async def test_an_endpoint_that_names_a_time_is_left_alone_until_then(hook, endpoint, event, monkeypatch):
    now_s = [5_000.0]
    monkeypatch.setattr("processors.webhook.time.monotonic", lambda: now_s[0])
    endpoint.answers(429, 503, 204, Retry_After="60")
    async with hook() as post:
        with pytest.raises(NotYet) as put_off:  # a limit is no failure
            await post(event())
        assert put_off.value.after_s == 60.0
        with pytest.raises(NotYet) as put_off:  # another lane's event
            await post(event(id="other"))
        assert put_off.value.after_s == pytest.approx(60.0)
        assert len(endpoint.requests) == 1
        now_s[0] += 60.1
        with pytest.raises(Retry) as failed:
            await post(event())
        assert not isinstance(failed.value, NotYet)
        assert failed.value.after_s == 60.0
        with pytest.raises(NotYet):
            await post(event())
        now_s[0] += 60.1
        await post(event())
    assert len(endpoint.requests) == 3


async def test_too_many_requests_without_a_time_is_a_failed_attempt(hook, endpoint, event):
    endpoint.answers(429)
    async with hook() as post:
        with pytest.raises(Retry) as failed:
            await post(event())
    assert not isinstance(failed.value, NotYet)


# The handshake.


def agreeing(**headers: str):
    def answer(request: Received) -> web.Response:
        if request.method == "OPTIONS":
            return web.Response(headers={name.replace("_", "-"): value for name, value in headers.items()})
        return web.Response(status=204)

    return answer


async def test_nothing_is_posted_before_the_endpoint_has_agreed(hook, endpoint, event):
    endpoint.answer = agreeing(WebHook_Allowed_Origin="inturn.example.com", WebHook_Allowed_Rate="6000")
    async with hook(handshake="required", origin="inturn.example.com", request_rate_per_min=6_000) as post:
        for _ in range(3):
            await post(event())
    assert [request.method for request in endpoint.requests] == ["OPTIONS", "POST", "POST", "POST"]
    question = endpoint.requests[0]
    assert question.path == "/hook"
    assert question.headers["WebHook-Request-Rate"] == "6000"
    assert {request.headers["WebHook-Request-Origin"] for request in endpoint.requests} == {
        "inturn.example.com"
    }


async def test_an_endpoint_that_does_not_agree_gets_nothing(hook, endpoint, event):
    endpoint.answer = agreeing(WebHook_Allowed_Origin="other.example.com")
    async with hook(handshake="required", origin="inturn.example.com") as post:
        for _ in range(3):
            with pytest.raises(Retry, match="the handshake failed"):
                await post(event())
    assert [request.method for request in endpoint.requests] == ["OPTIONS"]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_endpoint_that_cannot_answer_the_handshake_just_now_is_asked_again(
    hook, endpoint, event, status, caplog
):
    endpoint.answers(status)
    async with hook(handshake="required", origin="inturn.example.com") as post:
        with pytest.raises(Retry, match=f"answered {status}"):
            await post(event())
        endpoint.answer = agreeing(WebHook_Allowed_Origin="*")
        await post(event())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_redirect_of_the_handshake_is_not_followed(hook, endpoint, event):
    endpoint.answers(302, Location="https://169.254.169.254/", WebHook_Allowed_Origin="other")
    async with hook(handshake="required", origin="inturn.example.com") as post:
        with pytest.raises(Retry):
            await post(event())
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("name", "content", "flaw"),
    [
        ("url_file", "http://127.0.0.1/?sig=hunter2", "url_file: has to begin with https://"),
        ("signing_secret_file", "hunter2", "signing_secret_file: its file is no signing secret"),
        ("signing_secret_file", "", "signing_secret_file: .* is empty"),
    ],
)
async def test_a_file_that_cannot_be_meant_keeps_inturn_from_starting(hook, tmp_path, name, content, flaw):
    file = tmp_path / "file"
    file.write_text(content)
    with pytest.raises(ProcessorSettingsError, match=flaw) as refusal:
        async with hook(**{name: file}):
            pass
    assert "hunter2" not in str(refusal.value)


async def test_an_attempt_that_is_cut_off_by_its_deadline_leaves_no_connection_behind(hook, endpoint, event):
    deadline = asyncio.timeout(None)

    async def hang(_):
        deadline.reschedule(asyncio.get_running_loop().time())
        await asyncio.sleep(60)

    endpoint.answer = hang
    async with hook() as post:
        with pytest.raises(TimeoutError):
            async with deadline:
                await post(event())
        await endpoint.until(lambda: endpoint.connections == 0)
