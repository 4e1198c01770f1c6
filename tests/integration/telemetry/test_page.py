"""The status page in a real browser: Chromium runs its script and says what stands on it then."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from consumer.status import EngineStatus, WorkerStatus
from consumer.telemetry.admin import AdminServer
from consumer.telemetry.health import EventLoopHeartbeat
from consumer.telemetry.metrics import Metrics

_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
)


@pytest.fixture
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("INTURN_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium is installed")
        pytest.skip("no Chromium is installed: apt-get install chromium")
    return found


async def seen(browser: str, url: str, profile: Path) -> str:
    """The page as it is after some seconds of a browser's time."""
    process = await asyncio.create_subprocess_exec(
        browser,
        *_QUIET,
        f"--user-data-dir={profile}",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    page, _ = await asyncio.wait_for(process.communicate(), 60)
    return page.decode()


async def page_of(status: EngineStatus, browser: str, tmp_path: Path) -> str:
    """What a browser makes of the page that shows a status."""
    async with AdminServer(
        "127.0.0.1",
        0,
        status=lambda: status,
        metrics=Metrics(lambda: status),
        heartbeat=EventLoopHeartbeat(),
    ) as server:
        return await seen(browser, f"{server.url}/", tmp_path)


async def test_a_browser_shows_partitions_processors_and_outcomes(
    browser, engine_status: Callable[..., EngineStatus], partition_status, tmp_path
):
    status = engine_status(
        partitions=[partition_status("17", lag=4321)],
        outcomes={"handled": 98765, "dead_lettered:bad_time": 12},
        dead_letters=12,
    )
    page = await page_of(status, browser, tmp_path)

    assert '<section id="several" hidden="">' in page
    for shown in (">17<", "4,321", "98,765", "dead lettered: bad time", "inturn dlq list", ">console<"):
        assert shown in page, shown


async def test_a_browser_shows_the_workers_where_there_are_several(
    browser, engine_status: Callable[..., EngineStatus], partition_status, tmp_path
):
    known = {"restarts": 3, "up_s": 5.0, "silent_s": 0.2, "resident_bytes": 81_000_000}
    workers = [
        WorkerStatus(worker="1", state="running", pid=4711, last_end="signal SIGKILL", partitions=1, **known),
        WorkerStatus(worker="2", state="waiting", pid=None, last_end="exit code 70", **known),
    ]
    status = engine_status(partitions=[partition_status("17", worker="1")], workers=workers)
    page = await page_of(status, browser, tmp_path)

    for shown in (">4711<", "signal SIGKILL", ">waiting<", "exit code 70", "81 MB"):
        assert shown in page, shown
    assert '<section id="several">' in page


async def test_a_browser_shows_breakers_and_consumer_groups_of_their_own(
    browser, engine_status: Callable[..., EngineStatus], tmp_path
):
    (processor,) = engine_status().processors
    several = [
        msgspec.structs.replace(processor, breaker="closed"),
        msgspec.structs.replace(processor, name="mail", breaker="half_open", group="audit"),
    ]
    page = await page_of(engine_status(processors=several), browser, tmp_path)

    for shown in (
        ">consumer group<",
        ">shared<",
        ">audit<",
        ">half open<",
        ">closed<",
        "Breakers open: mail",
    ):
        assert shown in page, shown


async def test_a_browser_shows_why_inturn_is_not_ready_and_runs_nothing_that_a_name_smuggles_in(
    browser, engine_status: Callable[..., EngineStatus], tmp_path
):
    status = engine_status(
        ready=False,
        not_ready=["Partition 3 is halted: <img src=x onerror=document.title='smuggled'>"],
    )
    page = await page_of(status, browser, tmp_path)

    assert "Partition 3 is halted: &lt;img" in page
    assert "<title>smuggled" not in page
