"""`inturn status`: what a running inturn says of itself, as tables.

Exit codes: 0 fine; 1 not ready, or the lag grew while it was watched; 75 nothing answers.
"""

from __future__ import annotations

import http.client
import sys
import time
import urllib.error
import urllib.request
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from consumer.cli.exit_codes import ExitCode
from consumer.errors import TemporaryError
from consumer.status import EngineStatus
from consumer.telemetry.health import Verdict, judge_ready

_ANSWER_TIMEOUT_S = 5.0
_ANSWER_MAX_BYTES = 32 * 1024 * 1024
_WATCH_EVERY_S = 2.0


def status(
    *,
    url: Annotated[
        str, typer.Option(help="Where the admin port listens.", envvar="INTURN_ADMIN_URL")
    ] = "http://127.0.0.1:8080",
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what /status answers, as JSON.")] = False,
) -> None:
    """Show partitions, processors and outcomes of a running inturn.

    Exit code 1: it is not ready, or its lag grew while it was watched. 75: nothing answers at the address.
    """
    raise typer.Exit(_watch(url, as_json=as_json) if watch else _once(url, as_json=as_json))


def fetch_status(url: str) -> EngineStatus:
    """Ask the admin port at `url`. Raises `TemporaryError` if what answers is not inturn, or nothing does."""
    place = url.rstrip("/") + "/status"
    if not place.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url!r} is not an http address.", param_hint="--url")
    # Not through a proxy: the admin port is on this machine or in this cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(place, timeout=_ANSWER_TIMEOUT_S) as answer:
            body = answer.read(_ANSWER_MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer as well, and holds the connection
        reason = getattr(error, "reason", None) or error
        raise TemporaryError(
            f"No inturn answers at {place}: {reason}. Is it running, and is this its admin port?"
        ) from error
    try:
        return msgspec.json.decode(body, type=EngineStatus)
    except msgspec.DecodeError as error:
        raise TemporaryError(
            f"What answers at {place} is not inturn, or another version: {error}."
        ) from error


def lag_of(status: EngineStatus) -> int:
    """Events behind, over the partitions whose newest event is known."""
    return sum(partition.lag or 0 for partition in status.partitions)


def render(status: EngineStatus, verdict: Verdict) -> RenderableType:
    """The whole status: a headline, what wants attention, and three tables."""
    headline = Text.assemble(
        (
            f"{status.state}, ready" if verdict.ok else f"{status.state}, not ready",
            "green" if verdict.ok else "red",
        ),
        f"   {status.source}   version {status.version}   up {_span(status.uptime_s)}",
    )
    attention = [Text(f"✗ {reason}", "red") for reason in verdict.reasons]
    attention += [Text(f"! {hint}", "yellow") for hint in verdict.hints]
    workers = [_workers(status)] if status.workers else []
    return Group(headline, *attention, *workers, _partitions(status), _processors(status), _outcomes(status))


def _once(url: str, *, as_json: bool) -> int:
    status = fetch_status(url)
    verdict = judge_ready(status, 0.0)
    _show(status, verdict, as_json=as_json)
    return ExitCode.FINE if verdict.ok else ExitCode.FINDINGS


def _watch(url: str, *, as_json: bool) -> int:
    """Until Ctrl-C; the exit code is about the last answer and the whole time between first and last."""
    first = last = fetch_status(url)
    verdict = judge_ready(last, 0.0)
    try:
        if as_json or not sys.stdout.isatty():
            while True:
                _show(last, verdict, as_json=as_json)
                time.sleep(_WATCH_EVERY_S)
                last = fetch_status(url)
                verdict = judge_ready(last, 0.0)
        with Live(render(last, verdict), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(_WATCH_EVERY_S)
                last = fetch_status(url)
                verdict = judge_ready(last, 0.0)
                live.update(render(last, verdict), refresh=True)
    except KeyboardInterrupt:
        return watched(first, last, verdict)


def watched(first: EngineStatus, last: EngineStatus, verdict: Verdict) -> int:
    """The exit code of a watch that has ended."""
    grown = lag_of(last) - lag_of(first)
    if grown > 0:
        typer.echo(f"The lag grew by {grown:,} while it was watched.", err=True)
    return ExitCode.FINE if verdict.ok and grown <= 0 else ExitCode.FINDINGS


def _show(status: EngineStatus, verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(status).decode())
    else:
        Console().print(render(status, verdict))


def _table(title: str, text_columns: tuple[str, ...], number_columns: tuple[str, ...]) -> Table:
    # No grid: eighty columns are to be enough.
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in text_columns:
        table.add_column(column, overflow="fold")
    for column in number_columns:
        table.add_column(column, justify="right")
    return table


def _workers(status: EngineStatus) -> RenderableType:
    table = _table(
        "\nWorkers",
        ("worker", "state"),
        ("process", "partitions", "restarts", "up", "CPU", "memory"),
    )
    ends = []
    for w in status.workers:
        color = {"running": "green", "silent": "red", "waiting": "red"}.get(w.state, "yellow")
        table.add_row(
            escape(w.worker),
            Text(w.state, color),
            "–" if w.pid is None else str(w.pid),
            _number(w.partitions),
            _number(w.restarts),
            _span(w.up_s),
            _span(w.cpu_s),
            f"{w.resident_bytes / 1e6:,.0f} MB",
        )
        if w.last_end:
            ends.append(Text(f"worker {w.worker} ended before: {w.last_end}", "yellow"))
    return Group(table, *ends)


def _partitions(status: EngineStatus) -> RenderableType:
    if not status.partitions:
        who = "No worker owns a" if status.workers else "This process owns no"
        return Text(f"\n{who} partition now.", "dim")
    workers = ("worker",) if status.workers else ()
    table = _table(
        "\nPartitions",
        ("partition", *workers, "state"),
        ("checkpoint", "newest", "lag", "held", "in flight", "stored ago"),
    )
    for p in status.partitions:
        state = Text(p.state, {"reading": "green", "halted": "red"}.get(p.state, "yellow"))
        numbers = (_number(n) for n in (p.checkpoint, p.newest, p.lag, p.held, p.in_flight))
        worker = (escape(p.worker),) if status.workers else ()
        table.add_row(escape(p.partition), *worker, state, *numbers, _span(p.checkpoint_age_s))
    rules = [p.expectations for p in status.partitions if p.expectations]
    if not rules:
        return table
    told = ", ".join(f"{sum(each[word] for each in rules):,} {word}" for word in rules[0])
    return Group(table, Text(f"expectations: {told}"))


def _processors(status: EngineStatus) -> RenderableType:
    if not status.processors:
        return Text("\nNo processor is configured.", "dim")
    table = _table(
        "\nProcessors",
        ("processor", "type", "delivery"),
        ("queued", "running", "handled", "failed", "dead", "busy"),
    )
    errors = []
    for p in status.processors:
        numbers = (_number(n) for n in (p.queued, p.running, p.handled, p.attempts_failed, p.dead_lettered))
        name = f"{p.name} in {p.group}" if p.group else p.name
        table.add_row(escape(name), escape(p.type), escape(p.delivery), *numbers, _span(p.busy_s))
        if p.breaker in {"open", "half_open"}:
            word = p.breaker.replace("_", " ")
            errors.append(Text(f"breaker of {p.name}: {word}; its events wait", "yellow"))
        if p.parked:
            errors.append(
                Text(f"objects of {p.name} behind dead letters: {p.parked}; redrive or purge them", "yellow")
            )
        if p.last_error:
            errors.append(Text(f"last error of {p.name}: {p.last_error}", "yellow"))
    return Group(table, *errors)


def _outcomes(status: EngineStatus) -> RenderableType:
    if not status.outcomes:
        return Text("\nNo event has reached its outcome yet.", "dim")
    table = _table("\nOutcomes", ("outcome",), ("events",))
    for name, count in sorted(status.outcomes.items(), key=lambda item: -item[1]):
        table.add_row(escape(name.replace("_", " ").replace(":", ": ")), _number(count))
    return table


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"
