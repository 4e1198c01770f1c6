"""One of several workers: the consumer as ever, without an admin port, that reports to its supervisor."""

from __future__ import annotations

import asyncio
import os

from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.composition import compose
from consumer.runtime.worker_channel import WorkerEnd, WorkerPlace
from consumer.settings import AdminSettings, Settings
from consumer.status import WorkerReport
from consumer.telemetry.health import judge_live
from consumer.telemetry.logs import LogFormat, configure_logging
from consumer.telemetry.workers_book import report_of


def run_worker(settings: Settings, place_text: str) -> int:
    """Run to the end; gives the exit code."""
    place = WorkerPlace.parse(place_text)
    place.keep_to_itself()
    logging = configure_logging(
        level=settings.logging.level,
        log_format=LogFormat(settings.logging.format),
        terminal=os.isatty(place.stderr),
        fields={"worker": place.worker},
    )
    try:
        return run_async(_run(settings.model_copy(update={"admin": AdminSettings(enabled=False)}), place))
    finally:
        logging.close()


async def _run(settings: Settings, place: WorkerPlace) -> int:
    async with compose(settings, succession=place.succession) as application:
        metrics, engine = application.metrics, application.engine

        def report() -> WorkerReport:
            status = metrics.status()
            not_live = judge_live(status, application.heartbeat.age_s).reasons
            return report_of(status, not_live, metrics.totals(status), metrics.durations)

        end = WorkerEnd(place, report, engine.drain)
        try:
            async with asyncio.TaskGroup() as tasks:
                reporting = tasks.create_task(end.run(), name="supervisor")
                await application.run()
                reporting.cancel()
        finally:
            await end.close()
        return ExitCode.FINE if engine.was_clean else ExitCode.TEMPORARY
