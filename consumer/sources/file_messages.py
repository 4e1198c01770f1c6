"""Take a file apart into messages: a line each, or an element each of Event Grid's dead-letter blobs.

Everything here waits for the disk, or for whoever writes to standard input; the source calls it in a
thread of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import orjson

LINE_BYTES_MAX = 1024 * 1024 + 64 * 1024
"""A longer line is cut here: still longer than a message may be, so decoding refuses it for its length."""
BLOB_BYTES_MAX = 64 * 1024 * 1024
"""A file that is one JSON array is read whole up to this; a larger one is read as lines."""
_CHUNK_BYTES = 256 * 1024
_DEAD_LETTER_MARKS = {"deadletterreason", "deadletterproperties"}
_ELEMENT_END = b" \t\r\n,"


def lines_of(stream: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of a stream as they become available: without their ends, and no blank ones."""
    rest = b""
    in_cut_line = False
    while chunk := _read_some(stream):
        *lines, tail = chunk.split(b"\n")
        if in_cut_line and not lines:
            continue
        if in_cut_line:
            del lines[0]  # the end of a line whose beginning was handed over
            in_cut_line = False
        elif lines:
            lines[0] = rest + lines[0]
        else:
            tail = rest + tail
        rest = tail
        if len(rest) > LINE_BYTES_MAX:
            lines.append(rest)
            rest, in_cut_line = b"", True
        found = [line[:LINE_BYTES_MAX].rstrip(b"\r") for line in lines if line.strip()]
        if found:
            yield found
    if rest.strip():
        yield [rest]


def _read_some(stream: BinaryIO) -> bytes:
    # `read1` gives what is there; `read` would wait for the whole chunk.
    read = getattr(stream, "read1", stream.read)
    some = read(_CHUNK_BYTES)
    return some if isinstance(some, bytes) else b""


def messages_of(path: Path) -> Iterator[list[bytes]]:
    """The messages of a file. Raises `OSError`."""
    if path.stat().st_size <= BLOB_BYTES_MAX:
        elements = _elements_of(path)
        if elements is not None:
            yield elements
            return
    with path.open("rb") as stream:
        yield from lines_of(stream)


def _elements_of(path: Path) -> list[bytes] | None:
    """The elements of a file that is one JSON array, byte for byte; None if it is to be read as lines.

    A file of one line that is an array is a message of its own, unless Event Grid's marks are on it.
    """
    with path.open("rb") as stream:
        head = stream.read(64).lstrip()
        if not head.startswith(b"["):
            return None
        stream.seek(0)
        body = stream.read()
    try:
        array = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_one_line = b"\n" not in body.strip()
    if is_one_line and not any(_is_dead_letter(element) for element in array):
        return None
    try:
        return _split(body.decode())
    except RecursionError:
        return None


def _is_dead_letter(element: object) -> bool:
    return isinstance(element, dict) and not _DEAD_LETTER_MARKS.isdisjoint(key.lower() for key in element)


def _split(text: str) -> list[bytes]:
    """The elements of a valid JSON array as they were written."""
    decoder = json.JSONDecoder()
    elements: list[bytes] = []
    index = text.index("[") + 1
    blank = _ELEMENT_END.decode()
    while True:
        while text[index] in blank:
            index += 1
        if text[index] == "]":
            return elements
        _, end = decoder.raw_decode(text, index)
        elements.append(text[index:end].encode())
        index = end


def event_time_ms(body: bytes) -> int | None:
    """When the first event of a message happened, milliseconds since 1970; None if it does not say."""
    if len(body) > LINE_BYTES_MAX:
        return None
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    event = decoded[0] if isinstance(decoded, list) and decoded else decoded
    if not isinstance(event, dict):
        return None
    text = event.get("eventTime") or event.get("time")
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        return max(0, int(time.timestamp() * 1_000))
    except (ValueError, OverflowError):
        return None
