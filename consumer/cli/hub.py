"""`inturn hub`: a local Event Hubs for laptops and tests.

Exit codes: 0 stopped; 2 a wrong option; 75 the port is taken or the data folder cannot be read.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.event_loop import run_async
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.telemetry.logs import configure_logging


def hub(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="0 takes a free one, and a new name for checkpoints.")
    ] = 5_672,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    beyond_loopback: Annotated[
        bool, typer.Option("--beyond-loopback", help="Allow an address that others reach: there is no TLS.")
    ] = False,
    hubs: Annotated[
        list[str] | None, typer.Option("--hub", help="NAME or NAME:PARTITIONS; may be given several times.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A consumer group besides $Default, in every hub.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder to keep events in; without one they are in memory only.")
    ] = None,
    retention_mb: Annotated[
        int, typer.Option(min=1, help="Events beyond this size per hub are trimmed, the oldest first.")
    ] = 256,
    key: Annotated[
        str | None,
        typer.Option(
            envvar="INTURN_HUB_KEY", show_envvar=True, help="The shared access key; without one any will do."
        ),
    ] = None,
) -> None:
    """Run a local Event Hubs that the Azure clients talk to, until stopped. Not for production."""
    groups = ("$Default", *(group or ()))
    settings = LocalHubSettings(
        hubs=tuple(_hub(text, groups, retention_mb * 1_048_576) for text in hubs or ["events:4"]),
        host=host,
        port=port,
        beyond_loopback=beyond_loopback,
        key=key,
        data_folder=data,
    )
    logging = configure_logging()
    try:
        run_async(_serve(settings))
    finally:
        logging.close()


async def _serve(settings: LocalHubSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with LocalHub(settings) as server:
        for each in settings.hubs:
            typer.echo(f"{each.name}: {each.partitions} partitions, groups {', '.join(each.consumer_groups)}")
        # With a key of its own the string is a secret, and the user has the key.
        shown = server.connection_string() if settings.key is None else f"sb://{settings.host}:{server.port}"
        typer.echo(shown)
        await stopped.wait()


def _hub(text: str, groups: tuple[str, ...], retention_bytes_max: int) -> HubSettings:
    name, colon, partitions = text.partition(":")
    if colon and not (partitions.isdecimal() and 1 <= int(partitions) <= 1_024):
        raise typer.BadParameter(f"{text!r} is not NAME or NAME:PARTITIONS (1 to 1024)", param_hint="--hub")
    return HubSettings(
        name=name,
        partitions=int(partitions) if colon else 4,
        consumer_groups=groups,
        retention_bytes_max=retention_bytes_max,
    )
