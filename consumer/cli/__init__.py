"""The command line. A command is a file in this folder and a line in `COMMANDS`.

The file ``consumer/cli/NAME.py`` has a function ``NAME`` with typer options, or, for a group of commands, a
`typer.Typer` called ``app``. It is imported when its command is called, and not before: ``inturn --help``
does not wait for the Azure SDK. A command raises what goes wrong; `consumer.cli.exit_codes` does the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import consumer
from consumer import core

COMMANDS = {
    "run": "Read the source and hand every event to the processors, until stopped.",
    "demo": "Watch 20,000 events go all the way on this machine, the truth beside every number.",
    "check": "Check the configuration, and with --deep the hub and the stores.",
    "test": "Send sample events through the configured pipeline, and compare what comes of them.",
    "config": "Look at the configuration, or begin one.",
    "status": "Show what a running inturn is doing.",
    "replay": "Hand a stretch of the log to the processors once more, beside the live consumer.",
    "checkpoint": "Look at what is stored for each partition, or move it by hand.",
    "dlq": "Look at the dead letters, redrive them, or forget them.",
    "send": "Send sample events, or events from a file, into a hub.",
    "hub": "Run a local Event Hubs that the Azure clients talk to.",
}
"""What ``inturn --help`` says of each command, in this order."""


def load_command(name: str) -> Any:
    """Import a command's file and make the command, as typer runs it."""
    module = import_module(f"consumer.cli.{name}")
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False)
        group.command(name)(getattr(module, name))
    command = typer.main.get_command(group)
    command.name = name
    return command


class LazyGroup(TyperGroup):
    """Knows what all commands are for, and imports the one that is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, summary in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary), name)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """The command itself, which is about to run or to be completed."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(str(name)), rest


app = typer.Typer(
    name="inturn",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print(f"inturn {consumer.__version__} ({core.form()})")
        raise typer.Exit


@app.callback()
def inturn(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Print the version, and whether the rules are compiled.",
            is_eager=True,
            callback=lambda wanted: _print_version(wanted=wanted),
        ),
    ] = False,
) -> None:
    """Consume Azure Event Grid events from Event Hubs: of every object in turn, once, and none lost.

    Exit codes: 0 fine, 1 findings, 2 usage, 70 a fault of inturn, 75 temporary trouble, 78 configuration.
    """
