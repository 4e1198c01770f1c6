"""`inturn run`: the consumer itself.

Exit codes: 0 stopped or, for files, read to the end; 75 the hub or a store cannot be reached, or work was
cut off and will be repeated; 78 the configuration is wrong.
"""

from __future__ import annotations

import os

import typer

from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.composition import compose
from consumer.config_file import load_settings
from consumer.settings import Settings
from consumer.telemetry.logs import LogFormat, configure_logging


def run(*, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read the source and hand every event to the processors that want it, until stopped.

    The first SIGTERM or Ctrl-C finishes what is in flight and stores the checkpoint; a second one hurries.
    """
    settings = load_settings(config, os.environ)
    logging = configure_logging(level=settings.logging.level, log_format=LogFormat(settings.logging.format))
    try:
        was_clean = run_async(_run(settings))
    finally:
        logging.close()
    if not was_clean:
        raise typer.Exit(ExitCode.TEMPORARY)


async def _run(settings: Settings) -> bool:
    async with compose(settings) as application:
        await application.run()
        return application.engine.was_clean
