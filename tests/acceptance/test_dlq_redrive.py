"""`inturn dlq redrive` and `purge`, as who looks after the dead letters calls them."""

from __future__ import annotations

import json
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.processes import Inturn, eventually
from typer.testing import CliRunner, Result

from consumer.cli import app

CONFIG = """
source: {{type: file, paths: [events.jsonl]}}
state: {{type: sqlite, path: state.sqlite}}
dead_letters: {store}
admission: {{topics: any}}
processors:
  - name: deploy
    type: target:Target
    types: [Microsoft.MachineLearningServices.ModelRegistered]
    on_failure_order: park
    retry: {{attempts: 2, backoff_s: 0, backoff_max_s: 0}}
admin: {{enabled: false}}
"""
TARGET = """
import json
from pathlib import Path

class Target:
    async def __call__(self, event, context):
        line = json.dumps([event.subject, context.idempotency_key]) + "\\n"
        with Path("attempts.jsonl").open("a") as attempts:
            attempts.write(line)
        if Path("down").exists():
            raise RuntimeError("the target is down")
        with Path("effects.jsonl").open("a") as effects:
            effects.write(line)

    def preview(self, event, context):
        return {"deploys": event.field("modelName"), "version": event.field("modelVersion")}
"""
MODELS, VERSIONS = ("fraud", "churn"), (1, 2, 3, 4)
TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


def body(model: str, version: int) -> dict[str, object]:
    return {
        "id": f"{model}-{version}",
        "topic": TOPIC,
        "subject": f"models/{model}:{version}",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "eventTime": f"2026-01-01T00:00:{version:02}Z",
        "data": {"modelName": model, "modelVersion": str(version)},
        "dataVersion": "2",
    }


class Team(Inturn):
    """A folder with a target that was down while eight events were read."""

    @property
    def effects(self) -> list[tuple[str, str]]:
        """Subjects and idempotency keys, in the order in which the effects were made."""
        return self._lines("effects.jsonl")

    @property
    def attempts(self) -> list[tuple[str, str]]:
        return self._lines("attempts.jsonl")

    def _lines(self, name: str) -> list[tuple[str, str]]:
        path = self.folder / name
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    def mend(self) -> None:
        (self.folder / "down").unlink()

    def here(self, *arguments: str) -> Result:
        """Run a command in this process, which is started already."""
        return CliRunner().invoke(app, ["dlq", *arguments], catch_exceptions=False)

    def letters(self) -> list[dict[str, object]]:
        listed = self.here("list", "--json")
        assert listed.exit_code == 0, listed.stderr
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def subjects(self, model: str) -> list[str]:
        return [subject for subject, _ in self.effects if f"/{model}:" in subject]


@pytest.fixture(params=["sqlite", "blob"])
def team(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    store = "{type: sqlite, path: letters.sqlite}"
    if request.param == "blob":
        azurite = request.getfixturevalue("azurite")
        container = f"letters-{uuid.uuid4().hex}"
        secret = json.dumps(azurite.connection_string)
        store = f"{{type: blob, container: {container}, connection_string: {secret}, create_container: true}}"
    (tmp_path / "inturn.yaml").write_text(CONFIG.format(store=store))
    (tmp_path / "target.py").write_text(TARGET)
    events = [body(model, version) for version in VERSIONS for model in MODELS]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    (tmp_path / "down").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "200")
    team = Team(tmp_path)
    ran = team("run")
    assert ran.returncode == 0, ran.stderr
    yield team
    team.close()
    sys.modules.pop("target", None)


ALL = [f"models/{{}}:{version}" for version in VERSIONS]


def test_once_the_target_is_mended_a_redrive_makes_every_effect_in_order_with_the_keys_of_before(team):
    tried = dict(team.attempts)
    assert sorted(tried) == ["models/churn:1", "models/fraud:1"]  # the others are parked behind them
    assert sorted(str(each["reason"]) for each in team.letters()) == ["parked"] * 6 + ["retries_spent"] * 2

    before = team.letters()
    rehearsed = team.here("redrive", "--dry-run")
    assert rehearsed.exit_code == 0, rehearsed.stderr
    assert rehearsed.stdout.count("would be run") == 8 + 1  # and the table's head
    assert '{"deploys":"fraud","version":"4"}' in rehearsed.stdout
    assert (team.letters(), team.effects) == (before, [])

    again = team.here("redrive")
    assert again.exit_code == 1, again.stdout
    after = {str(each["subject"]): each for each in team.letters()}
    assert len(after) == 8
    assert [after[f"models/{model}:1"]["attempts"] for model in MODELS] == [4, 4]

    team.mend()
    mended = team.here("redrive", "--object", "models/*")
    assert mended.exit_code == 0, mended.stdout + mended.stderr
    for model in MODELS:
        assert team.subjects(model) == [each.format(model) for each in ALL]
    assert len(team.effects) == 8
    assert {subject: key for subject, key in team.effects if subject in tried} == tried
    assert team.letters() == []

    nothing = team.here("redrive")
    assert (nothing.exit_code, "nothing to redrive" in nothing.stdout) == (0, True)


def test_an_interrupted_redrive_loses_nothing_runs_alone_and_can_be_gone_on_with(team):
    team.mend()
    redriving = team.start("dlq", "redrive", "--rate", "0.2/s")
    eventually(lambda: team.effects or redriving.has_ended(), "a first effect")

    second = team("dlq", "redrive")
    assert second.returncode == 75
    assert "Another redrive" in second.stderr

    assert redriving.end(signal.SIGINT) == 75, redriving.output + redriving.errors
    assert "Stopped before its end" in redriving.output
    done = len(team.effects)
    assert done < 8
    assert len(team.letters()) == 8 - done

    rest = team.here("redrive")
    assert rest.exit_code == 0, rest.stdout + rest.stderr
    assert len(team.effects) == 8
    for model in MODELS:
        assert team.subjects(model) == [each.format(model) for each in ALL]
    assert team.letters() == []


def test_what_is_purged_is_what_was_asked_for_and_only_when_somebody_says_yes(team):
    assert team.here("purge").exit_code == 2
    assert team.here("purge", "--all", "--processor", "deploy").exit_code == 2

    unasked = team.here("purge", "--object", "models/churn")
    assert (unasked.exit_code, "Nobody can be asked" in unasked.stderr) == (2, True)
    assert team.here("purge", "--object", "models/churn", "--dry-run").exit_code == 0
    assert len(team.letters()) == 8

    purged = team.here("purge", "--object", "models/churn", "--reason", "parked", "--yes")
    assert "3 letters forgotten" in purged.stdout
    kept = [str(each["subject"]) for each in team.letters()]
    assert sorted(kept) == ["models/churn:1", *(each.format("fraud") for each in ALL)]

    assert "5 letters forgotten" in team.here("purge", "--all", "--yes").stdout
    assert team.letters() == []


@pytest.mark.parametrize("team", ["sqlite"], indirect=True)
def test_what_is_asked_for_wrongly_is_said_with_what_there_is(team):
    for arguments, said in (
        (("--reason", "boredom"), "retries_spent"),
        (("--since", "yesterday"), "2026-11-21T06:30:00Z"),
        (("--until", "earliest"), "is no time"),
    ):
        answer = team.here("list", *arguments)
        assert (answer.exit_code, said in answer.stderr) == (2, True), answer.stderr
    assert team.here("redrive", "--rate", "fast").exit_code == 2
    assert "0 dead letters" in team.here("list", "--since", "2126-01-01T00:00:00Z").stdout
    assert "8 dead letters" in team.here("list", "--since", "-1h", "--processor", "deploy").stdout
