"""Logs: one chain for all records, and a stream that is stuck or closed stops nothing."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator

import orjson
import pytest
import structlog

from consumer.telemetry.line_writer import LineWriter
from consumer.telemetry.logs import LogFormat, Logging, configure_logging


@pytest.fixture
def configure() -> Iterator[Callable[..., tuple[Logging, io.StringIO]]]:
    opened: list[Logging] = []

    def make(**options) -> tuple[Logging, io.StringIO]:
        stream = io.StringIO()
        opened.append(configure_logging(stream=stream, **options))
        return opened[-1], stream

    yield make
    for logs in opened:
        logs.close()


def records(logs: Logging, stream: io.StringIO) -> list[dict]:
    assert logs.writer.flush()
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_records_are_json_lines_where_nobody_watches(configure):
    logs, stream = configure()
    structlog.get_logger("inturn.test").info("A partition was assigned.", partition="3", ages=[1, 2])
    (record,) = records(logs, stream)
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "event": "A partition was assigned.",
        "level": "info",
        "logger": "inturn.test",
        "partition": "3",
        "ages": [1, 2],
    }


def test_records_of_libraries_take_the_same_way(configure):
    logs, stream = configure()
    logging.getLogger("faust.worker").warning("Lost %s", "AccountKey=abc", extra={"password": "p"})
    (record,) = records(logs, stream)
    assert record["event"] == "Lost AccountKey=[redacted]"
    assert record["logger"] == "faust.worker"
    assert record["level"] == "warning"
    assert record["password"] == "[redacted]"


def test_what_holds_for_a_whole_process_is_in_every_record_even_a_threads(configure):
    logs, stream = configure(fields={"worker": "2"}, log_format=LogFormat.JSON)
    thread = threading.Thread(target=structlog.get_logger("inturn.test").info, args=("From a thread.",))
    thread.start()
    thread.join()
    logging.getLogger("library").warning("From a library.")
    assert [record["worker"] for record in records(logs, stream)] == ["2", "2"]


def test_who_knows_better_says_whether_lines_end_up_on_a_terminal(configure):
    logs, stream = configure(terminal=True)
    structlog.get_logger("inturn.test").info("For a person.")
    assert logs.writer.flush()
    assert "\x1b[" in stream.getvalue()


def test_talkative_libraries_are_heard_from_warning_on(configure):
    logs, stream = configure(level="DEBUG")
    logging.getLogger("azure.eventhub._pyamqp").info("frame")
    logging.getLogger("azure.eventhub._pyamqp").warning("Link detached.")
    logging.getLogger("mine").debug("heard")
    assert [record["event"] for record in records(logs, stream)] == ["Link detached.", "heard"]


def test_a_partition_that_moves_is_no_warning_of_the_client(configure):
    logs, stream = configure()
    client = logging.getLogger("azure.eventhub.aio._eventprocessor.event_processor")

    client.warning("An error occurred while receiving. The exception is %r.", "amqp:link:stolen")
    client.warning("An error occurred while receiving. The exception is %r.", "amqp:connection:forced")

    (record,) = records(logs, stream)
    assert "amqp:connection:forced" in record["event"]


def test_levels_below_the_chosen_one_are_silent(configure):
    logs, stream = configure(level="warning")
    structlog.get_logger("inturn.test").info("No.")
    structlog.get_logger("inturn.test").error("Yes.")
    assert [record["event"] for record in records(logs, stream)] == ["Yes."]


@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.CONSOLE])
def test_tracebacks_keep_their_lines_and_lose_their_secrets(configure, log_format):
    logs, stream = configure(log_format=log_format)
    try:
        raise ValueError("refused SharedAccessKey=abc123")
    except ValueError:
        structlog.get_logger("inturn.test").exception("It failed.")
        logging.getLogger("library").exception("It failed too.")
    assert logs.writer.flush()
    written = stream.getvalue()
    assert written.count("ValueError: refused SharedAccessKey=[redacted]") == 2
    assert "abc123" not in written


def test_people_get_text_without_escapes_from_events(configure):
    logs, stream = configure(log_format=LogFormat.CONSOLE)
    structlog.get_logger("inturn.test").warning("Look.", subject="a\x1b[31mb")
    assert logs.writer.flush()
    assert "Look." in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_what_json_cannot_hold_is_logged_nevertheless(configure):
    logs, stream = configure()
    structlog.get_logger("inturn.test").info("Odd.", big=2**80, lone="\ud800", thing=object())
    (record,) = records(logs, stream)
    assert record["lone"] == "\\ud800"
    assert record["thing"].startswith("<object object")


def test_a_record_that_cannot_be_formatted_is_mentioned(configure):
    logs, stream = configure(log_format=LogFormat.CONSOLE)
    record = logging.makeLogRecord({"name": "library", "msg": "%d things", "args": ("many",)})
    logs._handler.handle(record)
    assert logs.writer.flush()
    assert "logger library could not be formatted" in stream.getvalue()


def test_warnings_are_logged(configure):
    logs, stream = configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old way", stacklevel=1)
    assert any("old way" in record["event"] for record in records(logs, stream))


def test_a_second_set_up_replaces_the_first(configure):
    first, old = configure()
    second, new = configure()
    logging.getLogger("library").warning("Once.")
    assert records(first, old) == []
    assert len(records(second, new)) == 1


class Stuck(io.StringIO):
    """A stream whose reader does not read until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.let_go.wait(30)
        return super().write(text)


def test_a_stuck_stream_stops_nobody_and_what_was_dropped_is_counted():
    stream = Stuck()
    writer = LineWriter(stream, waiting_max_bytes=100)
    writer.write("first")
    assert stream.reached.wait(30)
    for _ in range(20):
        writer.write("x" * 19)  # 20 bytes with its line end: five fit
    assert writer.dropped == 15
    assert not writer.flush(timeout_s=0.01)
    stream.let_go.set()
    assert writer.flush(timeout_s=30)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "first"
    assert lines.count("x" * 19) == 5
    assert any(line.startswith("15 log lines were dropped") for line in lines)


def test_a_pipe_that_nobody_reads_any_more_swallows_lines():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        os.close(reading)
        writer = LineWriter(stream)
        for _ in range(3):
            writer.write("nobody")
            assert writer.flush(timeout_s=30)
        assert writer.dropped == 3
        writer.close()


def test_lines_are_written_in_order_and_whole_from_many_threads():
    stream = io.StringIO()
    writer = LineWriter(stream)
    threads = [
        threading.Thread(target=lambda name=name: [writer.write(f"{name} {n}") for n in range(200)])
        for name in "abc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    lines = stream.getvalue().splitlines()
    for name in "abc":
        assert [line for line in lines if line.startswith(name)] == [f"{name} {n}" for n in range(200)]


def test_a_closed_writer_takes_nothing_more():
    stream = io.StringIO()
    writer = LineWriter(stream)
    writer.write("last")
    writer.close()
    writer.write("later")
    assert stream.getvalue() == "last\n"
    assert writer.dropped == 1
