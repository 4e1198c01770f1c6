import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from consumer.errors import ProcessorSettingsError
from consumer.processor_loading import GROUP, find_processor, known_processors, load_processor

HERE = "processors_under_test"


class Sending:
    class Settings(BaseModel):
        password: SecretStr
        retries: int = 3

    def __init__(self, settings):
        self.settings = settings

    async def __call__(self, event, context): ...


class Bare:
    async def process_batch(self, events, context): ...


class Failing(Bare):
    def __init__(self):
        raise ValueError("no disk")


class Refusing(Bare):
    def __init__(self):
        raise ProcessorSettingsError("not like that")


class Wrong(Bare):
    Settings = dict


async def plain(event, context): ...


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, HERE, __import__("sys").modules[__name__])


def test_inturns_own_processors_are_known_by_name():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    for name, target in project["project"]["entry-points"][GROUP].items():
        assert known_processors()[name] == target
        assert find_processor(name).settings is not None


def test_a_class_with_settings_is_made_with_them():
    made = load_processor(f"{HERE}:Sending", {"password": "x", "retries": "4"})
    assert (made.settings.password.get_secret_value(), made.settings.retries) == ("x", 4)


def test_a_class_without_settings_is_made_without_arguments():
    assert isinstance(load_processor(f"{HERE}:Bare", {}), Bare)


def test_an_async_function_is_the_processor():
    assert load_processor(f"{HERE}:plain", {}) is plain


@pytest.mark.parametrize("name", ["Bare", "plain"])
def test_what_takes_no_settings_is_given_none(name):
    with pytest.raises(ProcessorSettingsError, match="takes no settings"):
        load_processor(f"{HERE}:{name}", {"a": 1})


def test_wrong_settings_are_all_named_and_none_is_quoted():
    with pytest.raises(ProcessorSettingsError) as caught:
        load_processor(f"{HERE}:Sending", {"password": 5, "retries": "hunter2"})
    assert caught.value.findings == (
        f"{HERE}:Sending: password: should be text: put it in quotes",
        f"{HERE}:Sending: retries: should be a whole number",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("Failing", "cannot be made: ValueError: no disk"), ("Refusing", "^not like that$")],
)
def test_a_processor_that_cannot_be_made_is_a_finding(name, message):
    with pytest.raises(ProcessorSettingsError, match=message):
        load_processor(f"{HERE}:{name}", {})


def test_settings_have_to_be_a_pydantic_model():
    with pytest.raises(ProcessorSettingsError, match="Settings is not a pydantic model"):
        find_processor(f"{HERE}:Wrong")
