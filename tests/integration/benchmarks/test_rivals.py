"""The benchmark compares like with like: every rival does the same work, and one that does not is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from benchmarks import __main__ as command
from benchmarks import report, rounds
from benchmarks.dataset import make_log, open_log
from benchmarks.goals import GOALS, Figure
from benchmarks.over_the_hub import hub
from benchmarks.rivals.hand_loop import StateLog, restore
from benchmarks.rivals.hand_partition import EVENT, Partition
from benchmarks.work import Log, digest_of, load

EVENTS = 3_000
LINE = re.compile(r"figure [a-z0-9]+(-[a-z0-9]+)* -?[0-9.e-]+ \S+( goal (<=|>=) [0-9.]+)?")


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_log(EVENTS, 4, tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def log(log_file: Path) -> Log:
    return load(log_file)


@pytest.mark.parametrize("rival", ["hand", "hand-durable", "inturn", "inturn-lanes", "inturn-durable"])
def test_a_rival_in_memory_does_the_whole_work(rival: str, log_file: Path, log: Log) -> None:
    result = rounds.run(rival, log_file, checkpoints=9)

    rounds.check(rival, result, log)
    assert result.events == EVENTS
    assert len(result.digests) == 3


@pytest.fixture(scope="module")
def connection_string(log_file: Path) -> Iterator[str]:
    with hub(log_file) as running:
        yield running.connection_string


@pytest.mark.parametrize("rival", ["sdk-default", "sdk-best", "inturn-hub"])
def test_a_rival_behind_the_hub_does_the_whole_work(
    rival: str, log_file: Path, log: Log, connection_string: str
) -> None:
    rounds.check(rival, rounds.run(rival, log_file, connection_string=connection_string), log)


def test_a_rival_that_did_other_work_is_refused(log_file: Path, log: Log) -> None:
    result = rounds.run("hand", log_file)
    wrong = {
        "one event fewer": result._replace(delivered=log.delivered - 1),
        "another order at one processor": result._replace(digests=[log.digest, log.digest, "0123456789ab"]),
    }

    for each in wrong.values():
        with pytest.raises(rounds.WrongResult):
            rounds.check("hand", each, log)


def test_the_log_has_what_it_is_said_to_have(log: Log) -> None:
    bodies = [body for batch in log.in_order_of_arrival() for body in batch.bodies]
    sizes = sorted(map(len, bodies))
    kinds = {event.get("eventType") or event.get("type") for body in bodies for event in orjson.loads(body)}

    assert len(bodies) == EVENTS
    assert log.counts["repeated"] == EVENTS / 10
    assert 0.07 < log.counts["overtaken"] / EVENTS < 0.15
    assert log.counts["late"] > 0
    assert set(log.types) < kinds
    assert 900 < sizes[EVENTS // 2] < 1_200
    assert make_log(EVENTS, 4) == log
    for batches in log.partitions:
        times = [time for batch in batches for time in batch.enqueued_times_ms]
        assert times == sorted(times)


def test_the_digest_sees_every_difference_and_no_other(log: Log) -> None:
    ids = [event_id for event_id, _ in sorted(log.objects.items(), key=lambda entry: entry[1])]
    right = digest_of(ids, log.objects)
    twins = next(at for at in range(len(ids)) if log.objects[ids[at]] == log.objects[ids[at + 1]])
    swapped = [*ids[:twins], ids[twins + 1], ids[twins], *ids[twins + 2 :]]
    by_object_backwards = sorted(ids, key=lambda event_id: -log.objects[event_id])

    assert digest_of(swapped, log.objects) != right
    assert digest_of(ids[1:], log.objects) != right
    assert digest_of([*ids, ids[-1]], log.objects) != right
    assert digest_of(by_object_backwards, log.objects) == right


async def test_the_loop_goes_on_behind_its_checkpoint_as_if_nothing_had_been(
    log: Log, tmp_path: Path
) -> None:
    def released(partition: Partition, first: int) -> list[str]:
        ids = []
        for batch in log.partitions[0]:
            rows = [row for row, number in enumerate(batch.sequence_numbers) if number >= first]
            columns = batch.bodies, batch.sequence_numbers, batch.enqueued_times_ms
            if rows:
                entries = partition.take(*([column[row] for row in rows] for column in columns))
                partition.done(entries)
                ids += [entry[EVENT]["id"] for entry in entries]
        return ids

    whole = released(Partition(log.topics), 0)
    stopped, state = Partition(log.topics), tmp_path / "state.log"
    first = log.partitions[0][0]
    log_of_state = StateLog(state, stopped)
    entries = stopped.take(first.bodies, first.sequence_numbers, first.enqueued_times_ms)
    stopped.done(entries)
    await log_of_state.checkpoint()
    log_of_state.close()
    again = Partition(log.topics)
    restore(state, again)

    ids = [entry[EVENT]["id"] for entry in entries] + released(again, again.position + 1)
    assert digest_of(dict.fromkeys(ids), log.objects) == digest_of(whole, log.objects)


def test_the_command_prints_a_line_for_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--quick", "--events", str(EVENTS), "--only", "in-memory,durable"])
    lines = capsys.readouterr().out.splitlines()

    assert code == 0
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert {"in-memory-vs-hand-loop", "durable-vs-hand-loop"} <= {line.split()[1] for line in lines}


def test_a_missed_goal_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(value: float) -> command.Part:
        return command.Part(lambda *_: iter([Figure("memory-per-object", value, "bytes")]))

    monkeypatch.setitem(command.PARTS, "memory", measured(121))
    assert command.main(["--events", str(EVENTS), "--only", "memory"]) == 1
    assert "goal <= 120" in capsys.readouterr().out
    monkeypatch.setitem(command.PARTS, "memory", measured(120))
    assert command.main(["--events", str(EVENTS), "--only", "memory"]) == 0


def test_the_page_and_the_picture_show_every_goal_and_keep_what_was_not_measured_again(
    tmp_path: Path,
) -> None:
    report.keep([Figure("in-memory-vs-faust", 12, "x", "11 to 13")], tmp_path)
    report.keep([Figure("in-memory-vs-hand-loop", 1.2, "x"), Figure("a-rate", 3.5, "events/s")], tmp_path)
    page, picture = (tmp_path / "RESULTS.md").read_text(), (tmp_path / "results.svg").read_text()

    assert page.count("not measured") == len(GOALS) - 2
    assert "| 12 x | >= 10 | met | 11 to 13 |" in page
    assert "| 1.2 x | >= 1.5 | **missed** |" in page
    assert "| a-rate | 3.5 events/s |" in page
    assert picture.count('class="goal"') == 2
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
