"""What README.md shows works as it stands there."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from consumer.config_file import load_settings
from consumer.events import Event
from consumer.processor import Context, Reject, Retry
from consumer.processor_loading import load_processor
from processors.email import Email

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", README, re.MULTILINE)]


def block(beginning: str) -> str:
    """The indented block that begins with a text."""
    (found,) = (text for text in BLOCKS if text.lstrip("\n").startswith(beginning))
    return found


@pytest.fixture
def my_package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the README's processor, with a receiver that says what `answer` is."""
    package, models = ModuleType("my_package"), ModuleType("my_package.models")
    monkeypatch.setitem(sys.modules, "my_package", package)
    monkeypatch.setitem(sys.modules, "my_package.models", models)

    async def tell(data: object, *, key: str) -> str:
        assert (data, key) == ({"modelName": "fraud", "modelVersion": "3"}, "key-of-7")
        return str(models.answer)

    models.__dict__.update(tell=tell, answer="fine")
    exec(compile(block("from consumer import"), "README.md", "exec"), models.__dict__)
    return models


def test_the_configuration_is_valid_and_finds_the_processor(my_package: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "inturn.yaml"
    config.write_text(block("source:"), "utf-8")

    models, alert, everything = load_settings(config, {}).processors

    assert isinstance(load_processor(alert.type, alert.options), Email)
    assert load_processor(models.type, models.options) is my_package.announce
    assert everything.options["path"] == tmp_path / "archive"


@pytest.mark.parametrize("beginning", ["expect:", "# pip install 'inturn[faust]'"])
def test_the_other_sections_are_valid_in_it(my_package: ModuleType, tmp_path: Path, beginning: str) -> None:
    sections = {**yaml.safe_load(block("source:")), **yaml.safe_load(block(beginning))}
    config = tmp_path / "inturn.yaml"
    config.write_text(yaml.safe_dump(sections), "utf-8")

    key = "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=name;SharedAccessKey=a2V5"
    load_settings(config, {"EVENTHUB": key})


async def test_the_processor_does_what_is_said_of_it(
    my_package: ModuleType, event: Callable[..., Event]
) -> None:
    registered = event()
    context = Context("models", 1, [registered], lambda each: f"key-of-{each.position.sequence_number}")

    await my_package.announce(registered, context)

    my_package.answer = "busy"
    with pytest.raises(Retry) as later:
        await my_package.announce(registered, context)
    assert later.value.after_s == 30

    my_package.answer = "nonsense"
    with pytest.raises(Reject, match="does not know"):
        await my_package.announce(registered, context)


def test_the_first_thing_to_run_is_on_the_first_screen() -> None:
    assert "    make demo" in README.splitlines()[:25]
