"""`inturn demo`: every number is the truth, and a number that is not would be told."""

from __future__ import annotations

import asyncio
import sys

import pytest
import typer

from consumer.cli import demo
from consumer.samples.recorder import Recorder


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2_026, 77])
async def test_a_demonstration_ends_with_every_number_true(seed, tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", "demo", "--events", "2000", "--seed", str(seed)),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 110)

    assert process.returncode == 0, errors.decode()
    assert "Every number is the truth." in out.decode()
    assert "differs" not in out.decode()
    assert not errors


def test_an_event_that_a_processor_does_not_get_is_told(monkeypatch, capsys):
    whole = Recorder.process_batch

    async def lose_one(self, events, context):
        if self.count == 0 and len(events) > 0:
            self.count += 1
            events = events[1:]
        await whole(self, events, context)

    monkeypatch.setattr(Recorder, "process_batch", lose_one)

    with pytest.raises(typer.Exit) as ended:
        demo.demo(seed=5, events=300, partitions=2, keep=False, port=0)

    assert ended.value.exit_code == 1
    assert "Numbers differ from the truth." in capsys.readouterr().out
