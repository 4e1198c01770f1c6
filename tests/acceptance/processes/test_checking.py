"""`inturn check` says what is configured, and with ``--deep`` how far it is and what is in the way."""

from __future__ import annotations

import shutil
import signal

import pytest


def findings(checked):
    return [line for line in checked.stdout.splitlines() if line.startswith("finding: ")]


@pytest.mark.slow
def test_a_deep_look_tells_the_lag_and_that_a_hub_was_made_anew(
    inturn, hub, configure, archive, tell, tmp_path
):
    config = configure(hub)
    hub.send(tell().lines)
    before = inturn("check", "--deep", "-c", config)
    assert before.returncode == 0, before.stdout + before.stderr
    assert before.stdout.count(": no checkpoint; events 0 to ") == 4

    running = inturn.start("run", "-c", config)
    archive.until(100)
    assert running.end(signal.SIGTERM) == 0
    hub.send(tell(chapter=1).lines)
    behind = inturn("check", "--deep", "-c", config)
    assert behind.returncode == 0
    assert "state: reached, and may be written" in behind.stdout
    assert sum(int(line.rpartition(" ")[2]) for line in behind.stdout.splitlines() if ", lag " in line) == 100

    hub.stop()
    shutil.rmtree(tmp_path / "hub-data")
    hub.start()
    anew = inturn("check", "--deep", "-c", config)
    assert anew.returncode == 1
    assert sum("the hub was made anew" in line for line in findings(anew)) == 4


def test_a_deep_look_goes_on_after_what_it_cannot_reach(inturn, hub, configure, tmp_path):
    (tmp_path / "state.sqlite").write_bytes(b"no database" * 1_000)
    config = configure(source=hub.source(hub="nowhere"))
    checked = inturn("check", "--deep", "-c", config)
    assert (checked.returncode, checked.stderr) == (75, "")
    state, source = findings(checked)
    assert "state.sqlite: it is not an SQLite file" in state
    assert source == f"finding: There is no hub named nowhere at 127.0.0.1:{hub.port}."
