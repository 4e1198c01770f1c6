"""`inturn send` says what is wrong with its options before it looks for a hub."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consumer.cli import app
from consumer.cli.exit_codes import ExitCode, exit_code_of
from consumer.errors import ConfigurationError, SourceUnavailable


def send(*options: str) -> Result:
    return CliRunner().invoke(app, ["send", *options])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--type", "model-vanished"), "--type"),
        (("--file", "events.jsonl", "--type", "run-failed"), "--file"),
        (("--file", "events.jsonl", "--topic", "/subscriptions/s"), "--file"),
        (("--connection-string", "a", "--connection-string-file", "b"), "--connection-string"),
        (("--count", "0"), "--count"),
        (("--rate", "0"), "--rate"),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(options: tuple[str, ...], complaint: str) -> None:
    result = send(*options)

    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.stderr


@pytest.mark.parametrize("text", ["", "nonsense", "Endpoint=sb://x/;SharedAccessKeyName=k"])
def test_a_connection_string_that_is_none_is_a_configuration_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "connection-string"
    file.write_text(text + "\n")

    result = send("--connection-string-file", str(file))

    assert isinstance(result.exception, ConfigurationError)
    assert exit_code_of(result.exception) == ExitCode.CONFIGURATION


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    result = send("--file", str(tmp_path / "none.jsonl"))

    assert isinstance(result.exception, ConfigurationError)
    assert "none.jsonl" in str(result.exception)


def test_without_a_hub_one_line_says_so_and_the_key_is_not_in_it() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        text = f"Endpoint=sb://{place};SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0;UseDevelopmentEmulator=true"
        result = send("--connection-string", text)

    assert isinstance(result.exception, SourceUnavailable)
    assert exit_code_of(result.exception) == ExitCode.TEMPORARY
    said = str(result.exception)
    assert place in said
    assert "\n" not in said
    assert "c2VjcmV0" not in said
