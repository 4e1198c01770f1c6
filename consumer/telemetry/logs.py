"""Sets up logging: sentences with values, for a person on a terminal and as JSON lines for everything else.

inturn's own records (structlog) and those of the libraries (`logging`: azure, aiohttp, faust) leave through
one chain of processors, so that no record gets past the redaction, and through one `LineWriter`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from enum import StrEnum
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from consumer.telemetry.line_writer import LineWriter
from consumer.telemetry.redaction import redact, redact_item

__all__ = ["LogFormat", "Logging", "configure_logging"]

_QUIET = ("azure", "aiohttp.access", "aiokafka", "asyncio", "urllib3")
_TEXTS_WITH_LINES = frozenset({"exception", "stack"})


class LogFormat(StrEnum):
    """How records are written."""

    AUTO = "auto"
    """`CONSOLE` on a terminal, else `JSON`."""
    CONSOLE = "console"
    JSON = "json"


class Logging:
    """The logging that is set up. `close` writes what waits and takes it down again."""

    def __init__(self, writer: LineWriter, handler: logging.Handler) -> None:
        self.writer = writer
        self._handler = handler

    def close(self, *, timeout_s: float = 2.0) -> None:
        """Write what waits, at most for `timeout_s`; what is logged later goes nowhere."""
        logging.captureWarnings(capture=False)
        logging.getLogger().removeHandler(self._handler)
        self.writer.close(timeout_s=timeout_s)


def configure_logging(
    *,
    level: str = "INFO",
    log_format: LogFormat = LogFormat.AUTO,
    stream: TextIO | None = None,
    terminal: bool | None = None,
    fields: Mapping[str, str] | None = None,
) -> Logging:
    """Send every record of the process to `stream` (standard error), from `level` on.

    `terminal` says whether lines end up on a terminal where the stream does not show it. `fields` are in
    every record. `level` is a name that `logging` knows. The Azure SDK and other talkative libraries are
    heard from WARNING on, whatever `level` says. Call it once in the life of a process; close what it gives
    at the end.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    stream = stream if stream is not None else sys.stderr
    writer = LineWriter(stream)
    terminal = _is_terminal(stream) if terminal is None else terminal
    chain = _chain(fields or {})
    console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and terminal)
    render = _console(colors=terminal) if console else _json_line

    structlog.configure(
        processors=[*chain, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *name: _WriterLogger(writer, *name),
        # Loggers live in modules: one that was cached would keep writing to the stream of an earlier set-up.
        cache_logger_on_first_use=False,
    )
    handler = _WriterHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=(_add_logger_name, structlog.stdlib.ExtraAdder()),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *chain,
                render,
            ],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _WriterHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    logging.captureWarnings(capture=True)
    return Logging(writer, handler)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record tells anything: of a partition that moves, the client warns as if it were a fault.

    The source says in a line of its own when another owner has taken a partition.
    """
    return not (record.name.startswith("azure.eventhub") and "amqp:link:stolen" in record.getMessage())


def _chain(fields: Mapping[str, str]) -> Sequence[Processor]:
    def add_fields(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
        return {**event_dict, **fields}

    return (
        structlog.contextvars.merge_contextvars,
        add_fields,
        structlog.stdlib.add_log_level,
        _add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact_record,
    )


class _WriterLogger:
    """What structlog calls with a rendered line; it has a method for every level."""

    def __init__(self, writer: LineWriter, name: str = "inturn", *_: object) -> None:
        self.name = name
        self.msg = writer.write

    debug = info = warning = warn = error = exception = critical = fatal = log = property(
        lambda self: self.msg
    )


class _WriterHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record))
        except (TypeError, ValueError, KeyError, AttributeError):
            # A library's record whose arguments do not fit its text. `logging` would print to a stream
            # that may be stuck.
            self._writer.write(f"A record of the logger {record.name} could not be formatted.")

    def flush(self) -> None:
        """Wait until what was logged is written, for a while: for who ends the process on the spot."""
        self._writer.flush()


def _add_logger_name(logger: WrappedLogger, _: str, event_dict: EventDict) -> EventDict:
    record = event_dict.get("_record")
    event_dict.setdefault("logger", record.name if record is not None else getattr(logger, "name", "inturn"))
    return event_dict


def _redact_record(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    return {
        name: redact(value, lines=True)
        if name in _TEXTS_WITH_LINES and isinstance(value, str)
        else redact_item(name, value)
        for name, value in event_dict.items()
    }


def _console(*, colors: bool) -> Callable[[WrappedLogger, str, EventDict], str]:
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _json_line(_: WrappedLogger, __: str, event_dict: MutableMapping[str, Any]) -> str:
    try:
        return orjson.dumps(event_dict).decode()
    except TypeError:
        # An integer beyond 64 bits, for one. The line is worth more than its speed.
        return json.dumps(event_dict, default=repr)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
