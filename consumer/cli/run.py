"""`inturn run`: the consumer itself, in this process or in several.

Exit codes: 0 stopped or, for files, read to the end; 75 the hub or a store cannot be reached, or work was
cut off and will be repeated, or workers died too often; 78 the configuration is wrong.
"""

from __future__ import annotations

import os
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.config_file import load_settings
from consumer.errors import ConfigurationError
from consumer.setting_rules import WORKERS_MAX, unshared
from consumer.settings import Settings
from consumer.telemetry.logs import LogFormat, configure_logging


class Engine(StrEnum):
    """What reads a source."""

    EVENTHUB = "eventhub"
    FAUST = "faust"


def run(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=WORKERS_MAX,
            help="Processes that share the partitions, restarted when they die. Default: the setting.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(help="What is to read the source: refuse another one than the configuration names."),
    ] = None,
    as_worker: Annotated[str | None, typer.Option("--as-worker", hidden=True)] = None,
) -> None:
    """Read the source and hand every event to the processors that want it, until stopped.

    The first SIGTERM or Ctrl-C finishes what is in flight and stores the checkpoint; a second one hurries.
    """
    settings = load_settings(config, os.environ)
    _check_engine(settings, config, engine)
    count = settings.workers if workers is None else workers
    # Each way has a file of its own: a supervisor has no use for most of what its workers import.
    if as_worker is not None:
        code = import_module("consumer.cli.run_worker").run_worker(settings, as_worker)
    elif count > 1:
        _check_shared(settings, config, count)
        code = import_module("consumer.cli.run_workers").run_workers(settings, config, count)
    else:
        code = _run_alone(settings)
    if code:
        raise typer.Exit(code)


def _check_engine(settings: Settings, config: Path, engine: Engine | None) -> None:
    """Raise `ConfigurationError` if the source is not read by the engine that was asked for."""
    if engine is Engine.FAUST and settings.source.type != "kafka":
        raise ConfigurationError(
            f"{config}: --engine faust: source.type is {settings.source.type}, and Faust reads kafka. For an "
            "event hub write type: kafka, bootstrap: NAME.servicebus.windows.net:9093, topic: its name."
        )
    if engine is Engine.EVENTHUB and settings.source.type != "eventhub":
        raise ConfigurationError(f"{config}: --engine eventhub: source.type is {settings.source.type}.")


def _check_shared(settings: Settings, config: Path, count: int) -> None:
    """Raise `ConfigurationError` if several workers cannot do the work."""
    if reasons := unshared(settings):
        raise ConfigurationError(*(f"{config}: --workers {count}: {why}" for why in reasons))
    if os.name != "posix":
        raise ConfigurationError("Several workers need Linux or macOS. Run one, or several replicas.")


def _run_alone(settings: Settings) -> int:
    logging = configure_logging(level=settings.logging.level, log_format=LogFormat(settings.logging.format))
    try:
        return run_async(_run(settings))
    finally:
        logging.close()


async def _run(settings: Settings) -> int:
    from consumer.composition import compose  # noqa: PLC0415 - as above

    async with compose(settings) as application:
        await application.run()
        return ExitCode.FINE if application.engine.was_clean else ExitCode.TEMPORARY
