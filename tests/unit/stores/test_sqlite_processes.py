"""Several processes of one machine share an SQLite store."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from consumer.events import Checkpoint, PartitionId
from consumer.stores.sqlite import SqliteStore

ROOT = Path(__file__).parents[3]
ROUNDS = 25
PARTITION = PartitionId("namespace", "hub", "group", "0")

WORKER = """
import asyncio, os, signal, sys
from pathlib import Path
from consumer.errors import FenceLost
from consumer.events import Checkpoint, PartitionId
from consumer.stores.sqlite import SqliteStore

PARTITION = PartitionId("namespace", "hub", "group", "0")

async def main(path, name):
    store = SqliteStore(path=Path(path))
    for line in sys.stdin:
        if line == "load\\n":
            fence = (await store.load(PARTITION)).fence
            print("loaded", flush=True)
        elif line == "save\\n":
            try:
                await store.save(PARTITION, Checkpoint(1, "1"), name.encode(), fence)
                print("won", flush=True)
            except FenceLost:
                print("lost", flush=True)
        elif line == "save and die\\n":
            await store.save(PARTITION, Checkpoint(2, "2"), b"last words", fence)
            os.kill(os.getpid(), signal.SIGKILL)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def worker(path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORKER, str(path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ask_all(workers: list[subprocess.Popen[str]], what: str) -> list[str]:
    """Tell all at once, then hear all."""
    for process in workers:
        process.stdin.write(f"{what}\n")
        process.stdin.flush()
    return [process.stdout.readline().strip() for process in workers]


async def test_of_two_processes_that_save_over_one_version_exactly_one_wins_every_time(tmp_path):
    path = tmp_path / "inturn.db"
    names = ["first", "second"]
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(path, name)) for name in names]
        store = SqliteStore(path=path)
        for _ in range(ROUNDS):
            assert ask_all(workers, "load") == ["loaded", "loaded"]
            answers = ask_all(workers, "save")
            assert sorted(answers) == ["lost", "won"]
            winner = names[answers.index("won")]
            assert (await store.load(PARTITION)).snapshot == winner.encode()
        await store.close()
        for process in workers:
            process.stdin.close()
    assert [process.returncode for process in workers] == [0, 0]


async def test_what_was_saved_before_a_kill_is_there_afterwards(tmp_path):
    path = tmp_path / "inturn.db"
    with worker(path, "doomed") as process:
        ask_all([process], "load")
        assert ask_all([process], "save and die") == [""]
    store = SqliteStore(path=path)
    stored = await store.load(PARTITION)
    assert (stored.checkpoint, stored.snapshot) == (Checkpoint(2, "2"), b"last words")
    await store.save(PARTITION, Checkpoint(3, "3"), b"went on", stored.fence)
    await store.close()
