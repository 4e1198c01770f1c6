"""What a person may write behind `inturn dlq`."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from consumer.cli.dlq_options import CommandWithKey, filter_of

NOTHING = dict.fromkeys(("processor", "reason", "since", "until", "object_", "topic", "type_", "key"))
KEY = "-MvANLCriUZuT8sitl9ODaGBl3TvQ88j8nemLPWywco"


def given(*arguments: str) -> str:
    """What a command with a key understood."""
    app = typer.Typer()

    @app.command(cls=CommandWithKey)
    def show(key: str, *, config: str = typer.Option("c.yaml", "--config", "-c")) -> None:
        typer.echo(f"{key} {config}")

    return CliRunner().invoke(app, arguments).output.strip()


@pytest.mark.parametrize("key", [KEY, KEY[:12], f"-{KEY[:11]}", "qlUAFnEu9-Dv"])
def test_a_key_that_begins_with_a_dash_is_no_option(key):
    assert given(key) == f"{key} c.yaml"
    assert given("-c", "mine.yaml", key) == f"{key} mine.yaml"
    assert given(key, "--config", "mine.yaml") == f"{key} mine.yaml"
    assert given("--", key) == f"{key} c.yaml"


def test_what_is_no_key_and_no_option_is_still_refused():
    assert "No such option" in given("-x")


@pytest.mark.parametrize("text", ["yesterday", "earliest", "4711", "2026-11-21T06:30:00"])
def test_what_is_no_time_is_refused_with_what_a_time_looks_like(text):
    with pytest.raises(typer.BadParameter) as caught:
        filter_of(**{**NOTHING, "since": text})
    assert caught.value.message == f"{text} is no time with its zone: write 2026-11-21T06:30:00Z or -2h"
