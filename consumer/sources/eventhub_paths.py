"""Choose how partitions are received: on the fast path, or on the client's own.

The fast path keeps books that are the client's. So it is taken only with the release of the client that it
was written for, and only after a look whether it is what it was: all the names, and one message through both.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import azure.eventhub
import structlog

from consumer.errors import ConfigurationError
from consumer.sources.amqp_columns import Columns
from consumer.sources.amqp_frames import FrameError, FrameParser
from consumer.sources.eventhub_internals import KNOWN_RELEASE
from consumer.sources.eventhub_settings import EventHubSettings

Path = Literal["fast", "sdk"]

_SDK = "azure.eventhub._pyamqp"
_SAMPLE = (
    b"\x00\x53\x14\xc0\x14\x0b\x70\0\0\0\x02\x70\0\0\0\x07\x40\x43\x41\x42\x40\x40\x40\x40\x40"
    b"\x00\x53\x72\xd1\0\0\0\x6c\0\0\0\x08\xa3\x15x-opt-sequence-number\x81\0\0\0\0\0\0\x01\x00"
    b"\xa3\x0cx-opt-offset\xa1\x0212\xa3\x13x-opt-enqueued-time\x83\0\0\x01\x8b\xcf\xe5\x68\0"
    b"\xa3\x13x-opt-partition-key\xa1\x01k\x00\x53\x75\xb0\0\0\0\x04body"
)
"""A transfer as the service sends it: number 256, offset 12, key k."""

_log = structlog.get_logger("inturn.eventhub")


class Choice(NamedTuple):
    """How partitions are received, and why not faster."""

    path: Path
    why: str | None = None


def choose(settings: EventHubSettings) -> Choice:
    """The path for `settings`. Raises `ConfigurationError` if fast was asked for in vain."""
    if settings.receive == "sdk":
        return Choice("sdk", "receive is sdk")
    by_socket = settings.transport == "amqp" and settings.proxy is None
    why = unfamiliar() if by_socket else "it needs a socket of its own, without websocket or proxy"
    if why is None:
        return Choice("fast")
    if settings.receive == "fast":
        raise ConfigurationError(f"Event Hubs: receive is fast, and that is not possible: {why}.")
    tell = _log.warning if by_socket else _log.info
    tell("The fast receive path is not used; the client's own is.", reason=why)
    return Choice("sdk", why)


@cache
def _looked_into() -> str | None:
    try:
        return _compare_names() or _compare_readings()
    except (
        ArithmeticError,
        AttributeError,
        ImportError,
        LookupError,
        TypeError,
        ValueError,
        FrameError,
    ) as error:
        return f"looking into the client failed: {error!r}"


def unfamiliar() -> str | None:
    """What is not as it was in the installed client; None if the fast path knows it."""
    if azure.eventhub.__version__ != KNOWN_RELEASE:
        return f"azure-eventhub is {azure.eventhub.__version__}, and only {KNOWN_RELEASE} is known"
    return _looked_into()


def _compare_names() -> str | None:
    aio = f"{_SDK}.aio"
    connections = importlib.import_module(f"{aio}._connection_async").Connection
    sessions = importlib.import_module(f"{aio}._session_async").Session
    links = importlib.import_module(f"{aio}._receiver_async").ReceiverLink
    transports = importlib.import_module(f"{aio}._transport_async").AsyncTransport
    receivers = importlib.import_module("azure.eventhub.aio._consumer_async").EventHubConsumer
    handlers = importlib.import_module(f"{_SDK}.client").AMQPClient
    made: dict[Callable[..., Any], str] = {
        connections.__init__: "_error _incoming_endpoints _last_frame_received_time _last_frame_sent_time "
        "_max_frame_size _transport state",
        sessions.__init__: "channel incoming_window next_incoming_id next_outgoing_id outgoing_window "
        "remote_outgoing_window target_incoming_window",
        importlib.import_module(
            f"{aio}._link_async"
        ).Link.__init__: "current_link_credit delivery_count handle remote_handle state",
        transports.__init__: "_read_buffer reader writer",
        receivers.__init__: "_handler _keep_alive _offset _offset_inclusive _partition _prefetch running",
        handlers.__init__: "_cbs_authenticator _connection _keep_alive_interval _link _session",
    }
    called: dict[Callable[..., Any], str] = {
        connections.listen: "wait batch",
        connections._process_incoming_frame: "channel frame",  # noqa: SLF001 - that is what is looked into
        links.get_state: "",
        receivers.receive: "batch max_batch_size max_wait_time",
        receivers._open: "",  # noqa: SLF001 - that is what is looked into
        receivers._handle_exception: "exception",  # noqa: SLF001 - that is what is looked into
    }
    missing = [
        name for where, names in made.items() for name in names.split() if name not in where.__code__.co_names
    ]
    for what, names in called.items():
        missing += [name for name in names.split() if name not in inspect.signature(what).parameters]
    if not hasattr(asyncio.StreamReader(loop=asyncio.get_running_loop()), "_buffer"):
        missing.append("StreamReader._buffer")
    return f"the client has no {', '.join(missing)} where it was" if missing else None


def _compare_readings() -> str | None:
    """Read one message on both paths."""
    frame = struct.pack(">IBBH", len(_SAMPLE) + 8, 2, 0, 1) + _SAMPLE
    columns = Columns()
    FrameParser(columns, 1, 2, 4_096).feed(frame + frame)
    decoder = importlib.import_module(f"{_SDK}._decode")
    code, fields = decoder.decode_frame(memoryview(_SAMPLE))
    message = decoder.decode_payload(fields[11])
    told = message.message_annotations
    theirs = (
        told[b"x-opt-sequence-number"],
        told[b"x-opt-offset"].decode(),
        told[b"x-opt-enqueued-time"],
        told[b"x-opt-partition-key"].decode(),
        b"".join(message.data),
    )
    ours = list(
        zip(
            columns.sequence_numbers, columns.offsets, columns.enqueued_times_ms, columns.partition_keys,
            columns.bodies, strict=True,
        )
    )  # fmt: skip
    if (code, fields[0]) != (0x14, 2) or ours != [theirs, theirs]:
        return "the client reads a message otherwise"
    return None
