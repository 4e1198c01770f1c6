"""Output of several processes on one stream: lines stay whole, and nobody is held up for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from consumer.telemetry.line_merger import LINE_MAX_BYTES, LineMerger


class Stream:
    """A pipe in place of a terminal, and what comes out of it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.content = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := os.read(self.reading, 1 << 16):
            self.content += data

    def close(self) -> bytes:
        """Everything that was written."""
        if self.writing >= 0:
            os.close(self.writing)
            self._thread.join()
            os.close(self.reading)
            self.writing = -1
        return self.content


@pytest.fixture
def stream() -> Iterator[Stream]:
    stream = Stream()
    yield stream
    stream.close()


def say(descriptor: int, *pieces: bytes) -> None:
    for piece in map(memoryview, pieces):
        while piece:
            piece = piece[os.write(descriptor, piece) :]  # noqa: PLW2901 - what is left of it


def test_lines_of_many_writers_arrive_whole_and_each_writers_in_order(stream):
    merger = LineMerger(stream.writing)
    expected = {name: [f"{name}{number} {name * 9_000}" for number in range(50)] for name in "abcd"}

    def write(name: str, descriptor: int) -> None:
        for line in expected[name]:  # more than a pipe takes at once, so that it is written in pieces
            say(descriptor, line.encode(), b"\n")
        os.close(descriptor)

    writers = [threading.Thread(target=write, args=(name, merger.open_pipe())) for name in expected]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    merger.close()
    lines = stream.close().decode().splitlines()
    assert {name: [line for line in lines if line[0] == name] for name in expected} == expected
    assert len(lines) == 200


def test_what_ends_without_a_line_end_is_given_one(stream):
    merger = LineMerger(stream.writing)
    descriptor = merger.open_pipe()
    say(descriptor, b"whole\nbroken o", b"ff")
    os.close(descriptor)
    merger.close()
    assert stream.close() == b"whole\nbroken off\n"


def test_a_line_that_does_not_end_is_cut_rather_than_kept(stream):
    merger = LineMerger(stream.writing)
    descriptor = merger.open_pipe()
    say(descriptor, b"x" * (2 * LINE_MAX_BYTES))
    os.close(descriptor)
    merger.close()
    lines = stream.close().splitlines()
    assert sum(map(len, lines)) == 2 * LINE_MAX_BYTES
    assert len(lines) > 1


def test_closing_does_not_wait_for_ever_for_somebody_who_keeps_a_pipe(stream):
    merger = LineMerger(stream.writing)
    kept = merger.open_pipe()
    merger.close(timeout_s=0.05)
    say(kept, b"still heard\n")
    os.close(kept)
    merger.close()
    assert stream.close() == b"still heard\n"


def test_a_stream_that_is_closed_closes_the_pipes_so_that_writers_are_told():
    reading, writing = os.pipe()
    os.close(reading)
    merger = LineMerger(writing)
    descriptor = merger.open_pipe()
    with pytest.raises(BrokenPipeError):  # noqa: PT012 - the first may still get through
        for _ in range(100_000):
            say(descriptor, b"to nobody\n")
    later = merger.open_pipe()
    with pytest.raises(BrokenPipeError):
        say(later, b"to nobody\n")
    merger.close()
    for each in (descriptor, later, writing):
        os.close(each)


def test_a_merger_that_is_closed_twice_or_used_late_does_no_harm(stream):
    merger = LineMerger(stream.writing)
    merger.close()
    merger.close()
    os.close(merger.open_pipe())
