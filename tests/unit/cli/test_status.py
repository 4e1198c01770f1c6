"""`inturn status`: what it shows, and what its exit code means."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import msgspec
import pytest
from rich.console import Console

from consumer.__main__ import main
from consumer.cli import status as command
from consumer.status import EngineStatus, WorkerStatus
from consumer.telemetry.health import judge_ready


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], str]]:
    """Answers every request with a body, over a real socket."""
    servers = []

    def start(body: bytes, code: int = 200) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(code if self.path == "/status" else 404)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., Result]:
    """Runs the real command line in this process."""

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["inturn", "status", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Result(int(ended.value.code or 0), *capsys.readouterr())

    return call


def text_of(status: EngineStatus) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(command.render(status, judge_ready(status, 0.0)))
    return out.getvalue()


def test_an_engine_that_is_fine_exits_with_0_and_shows_its_tables(run, engine_status, serve):
    result = run("--url", serve(msgspec.json.encode(engine_status())))
    assert result.exit_code == 0
    for word in ("running, ready", "Partitions", "Processors", "Outcomes", "dead lettered: bad time"):
        assert word in result.stdout


def test_an_engine_that_is_not_ready_exits_with_1_and_says_why(run, engine_status, serve):
    status = engine_status(ready=False, not_ready=["The store does not answer."])
    result = run("--url", serve(msgspec.json.encode(status)) + "/")
    assert result.exit_code == 1
    assert "The store does not answer." in result.stdout


def test_dead_letters_are_a_hint_and_not_a_failure(run, engine_status, serve):
    result = run("--url", serve(msgspec.json.encode(engine_status(dead_letters=3))))
    assert result.exit_code == 0
    assert "inturn dlq list" in result.stdout


def test_json_is_what_the_engine_said(run, engine_status, serve):
    status = engine_status()
    result = run("--json", "--url", serve(msgspec.json.encode(status)))
    assert msgspec.json.decode(result.stdout, type=EngineStatus) == status


def test_nothing_that_answers_is_temporary(run, serve, unused_tcp_port):
    result = run("--url", f"http://127.0.0.1:{unused_tcp_port}")
    assert result.exit_code == 75
    assert "No inturn answers" in result.stderr


@pytest.mark.parametrize(("body", "code"), [(b"<html>", 200), (b"{}", 200), (b"", 500)])
def test_something_else_that_answers_is_temporary_too(run, serve, body, code):
    result = run("--url", serve(body, code))
    assert result.exit_code == 75
    assert "Traceback" not in result.stderr


def test_an_address_that_is_no_address_is_wrong_usage(run):
    assert run("--url", "file:///etc/passwd").exit_code == 2


def test_what_is_not_known_is_a_dash_and_markup_is_text(engine_status, partition_status):
    status = engine_status(partitions=[partition_status("[red]0", newest=None, lag=None)])
    shown = text_of(status)
    assert "[red]0" in shown
    assert "–" in shown


def test_a_surplus_replica_says_that_it_owns_nothing(engine_status):
    assert "owns no partition" in text_of(engine_status(partitions=[], processors=[], outcomes={}))


@pytest.mark.parametrize(("lag_before", "lag_after", "code"), [(5, 5, 0), (5, 2, 0), (5, 6, 1)])
def test_a_lag_that_grew_while_it_was_watched_is_a_finding(
    engine_status, partition_status, lag_before, lag_after, code
):
    first, last = (engine_status(partitions=[partition_status(lag=lag)]) for lag in (lag_before, lag_after))
    assert command.watched(first, last, judge_ready(last, 0.0)) == code


def test_a_watch_ends_with_ctrl_c_and_judges_what_it_saw(run, engine_status, partition_status, monkeypatch):
    answers = iter([engine_status(partitions=[partition_status(lag=lag)]) for lag in (1, 2)])
    naps = iter([None, KeyboardInterrupt])

    def sleep(_: float) -> None:
        if (error := next(naps)) is not None:
            raise error

    monkeypatch.setattr(command, "fetch_status", lambda _: next(answers))
    monkeypatch.setattr(command.time, "sleep", sleep)
    result = run("--watch", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "The lag grew by 1" in result.stderr


def test_several_workers_are_listed_and_every_partition_says_whose_it_is(engine_status, partition_status):
    workers = [
        WorkerStatus("1", "running", 4711, restarts=2, up_s=3.0, silent_s=0.1, last_end="signal SIGKILL"),
        WorkerStatus("2", "waiting", None, restarts=0, up_s=0.0, silent_s=0.0, last_end="exit code 70"),
    ]
    shown = text_of(engine_status(workers=workers, partitions=[partition_status("0", worker="1")]))
    for word in ("Workers", "4711", "waiting", "worker 1 ended before: signal SIGKILL", "exit code 70"):
        assert word in shown
    assert "worker " not in text_of(engine_status())
    assert "No worker owns a partition now." in text_of(engine_status(workers=workers, partitions=[]))


def test_an_open_breaker_and_a_consumer_group_of_its_own_are_said(engine_status):
    (processor,) = engine_status().processors
    changed = msgspec.structs.replace(processor, breaker="half_open", group="audit")
    text = text_of(engine_status(processors=[changed]))
    assert "log in audit" in text
    assert "breaker of log: half open; its events wait" in text


def test_parked_objects_and_what_rules_wait_for_are_said(engine_status, partition_status):
    (processor, *_) = engine_status().processors
    told = {"pending": 3, "met": 1_200, "missed": 2, "unwatched": 0}
    status = engine_status(
        processors=[msgspec.structs.replace(processor, parked=4)],
        partitions=[partition_status(expectations=told), partition_status(expectations=told)],
    )

    shown = text_of(status)

    assert f"objects of {processor.name} behind dead letters: 4; redrive or purge them" in shown
    assert "expectations: 6 pending, 2,400 met, 4 missed, 0 unwatched" in shown
