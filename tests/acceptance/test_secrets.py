"""Canaries: what is secret is in no log, no status, no metric, no dead letter, however things go."""

from __future__ import annotations

import base64
import socket

import aiohttp
import pytest
from aiohttp import web
from harness.endpoints import Endpoint, Received

from .conftest import inturn, registered, stop

CANARY = "c4n4ry"
SIGNING = "whsec_" + base64.b64encode(CANARY.encode() * 4).decode()


@pytest.fixture
async def receiver():
    """An endpoint that refuses at first, and in its answers repeats what it was told."""
    endpoint = Endpoint()
    statuses = iter([500, 401, 302, 503, 422])

    def answer(request: Received) -> web.Response:
        told = "".join(ch for ch in f"{request.path} {dict(request.headers)}" if ch.isprintable())
        status = next(statuses, 204)
        headers = {"X-Told": told, "Location": f"https://{CANARY}.example/", "Retry-After": "0"}
        return web.Response(status=status, headers=headers, text=told if status != 204 else None)

    endpoint.answer = answer
    async with endpoint.listening():
        yield endpoint


async def test_no_secret_of_a_processor_is_told_to_anybody(place, receiver):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets = {"signing": SIGNING, "token": f"Bearer {CANARY}", "key": CANARY}
    secrets["url"] = f"{receiver.url}logic?sig={CANARY}"
    for name, text in secrets.items():
        (place.folder / name).write_text(text)
    fast = {"retry": {"attempts": 9, "backoff_s": 0.01, "backoff_max_s": 0.01}, "breaker": {"enabled": False}}
    place.configure(
        processors=[
            {
                "name": "hook",
                "type": "webhook",
                **fast,
                "with": {
                    "url": f"{receiver.url}hook?token={CANARY}",
                    "allow_http_loopback": True,
                    "signing_secret_file": "signing",
                    "header_files": {"Authorization": "token"},
                    "headers": {"X-Api-Key": CANARY},
                },
            },
            {
                "name": "logic",
                "type": "function",
                **fast,
                "with": {"url_file": "url", "key_file": "key", "allow_http_loopback": True},
            },
        ],
        admin={"port": port},
        logging={"format": "json", "level": "debug"},
    )
    place.publish([registered("m", version) for version in range(1, 9)])

    async with place.running() as process:
        await place.until(lambda: len(receiver.posts) == 20)  # eight for each, and four that were tried again
        async with aiohttp.ClientSession() as session:
            told = [
                await text_at(session, f"http://127.0.0.1:{port}/{page}")
                for page in ("status", "metrics", "")
            ]
        assert await stop(process) == 0
    letters = await inturn(place.folder, "dlq", "list", "--json")
    shown = await inturn(place.folder, "config", "show")

    assert {request.path.partition("?")[0] for request in receiver.requests} == {"/hook", "/logic"}
    assert all(CANARY in str(request.headers) for request in receiver.requests)
    assert "An attempt failed." in place.log()
    for said in (place.log(), *told, letters.out, letters.errors):
        assert said.count(CANARY) == said.count(SIGNING) == 0
    # The one that was written into the file itself, in the URL, is shown as it stands there.
    assert shown.out.count(CANARY) == 1


async def text_at(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        assert answer.status == 200
        return await answer.text()
