"""While an archive writes large events, everybody else has their turn."""

from __future__ import annotations

import asyncio
import json

from consumer.processor import Context
from processors import archive
from processors.archive import Archive


async def test_between_the_lines_of_a_chunk_others_have_their_turn(event, tmp_path, monkeypatch):
    turns, turns_at = 0, []

    def line_of(event, key, of=archive.line_of):
        turns_at.append(turns)
        return of(event, key)

    monkeypatch.setattr(archive, "line_of", line_of)
    it = Archive(Archive.Settings(path=tmp_path))
    await it.open()
    large = json.dumps({"data": "x" * 300_000}).encode()
    events = [event(sequence_number=n, original=large) for n in range(4)]
    async with asyncio.TaskGroup() as tasks:

        async def others():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        running = tasks.create_task(others())
        await it.process_batch(events, Context("archive", 1, events, lambda event: event.id))
        running.cancel()
    await it.close()
    assert turns_at == sorted(set(turns_at)), "each line was made in a turn of its own"
    (file,) = tmp_path.iterdir()
    assert [json.loads(line)["sequence_number"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]
