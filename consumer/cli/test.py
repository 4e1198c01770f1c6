"""`inturn test`: sample events through the configured pipeline, without anything going out.

Exit codes: 0 all as expected; 1 a case was not; 78 the configuration or the cases are wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from consumer.cases.comparing import Told, difference, written
from consumer.cases.model import Case
from consumer.cases.reading import read_cases
from consumer.cases.running import run_case
from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.config_file import load_settings
from consumer.settings import Settings
from consumer.telemetry.logs import configure_logging

_COLOURS = {"-": typer.colors.RED, "+": typer.colors.GREEN}


def test(
    cases: Annotated[Path, typer.Argument(help="A file of cases in YAML.", metavar="CASES.yaml")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    name: Annotated[str, typer.Option("--case", "-k", help="Only cases with this in their name.")] = "",
    show: Annotated[
        bool, typer.Option("--show", help="Print what came of each case, ready to be expected.")
    ] = False,
) -> None:
    """Send sample events through the configured pipeline, and compare what comes of them.

    Decoding, filters, order, duplicates and routes are the real ones, in log time; processors say what they
    would do and do nothing. No hub, no store and no target is asked for anything.
    """
    settings = load_settings(config, os.environ)
    chosen = [case for case in read_cases(cases, os.environ, settings).cases if name in case.name]
    if not chosen:
        typer.echo(f"There is no case with {name} in its name.", err=True)
        raise typer.Exit(ExitCode.FINDINGS)
    logging = configure_logging(level="error")
    try:
        failed = run_async(_run(settings, chosen, is_shown=show))
    finally:
        logging.close()
    typer.echo(f"{len(chosen) - failed} of {len(chosen)} cases as expected")
    raise typer.Exit(ExitCode.FINDINGS if failed else ExitCode.FINE)


async def _run(settings: Settings, cases: list[Case], *, is_shown: bool) -> int:
    failed = 0
    for case in cases:
        told = await run_case(settings, case)
        diff = difference(case, told)
        failed += bool(diff)
        typer.echo(f"{'FAILED' if diff else 'ok'}  {case.name}")
        for line in diff:
            colour = _COLOURS.get(line[:1]) if sys.stdout.isatty() else None
            typer.echo(typer.style(f"    {line}", fg=colour))
        if is_shown:
            typer.echo(_shown(told))
    return failed


def _shown(told: Told) -> str:
    record = {"expect": told.given, "dead_letters": told.dead_letters, "outcomes": told.outcomes}
    return "".join(f"    {line}\n" for line in written(record).splitlines())
