import pytest

from consumer.cli.exit_codes import ExitCode, errors_to_exit_codes
from consumer.errors import ConfigurationError, CorruptState, FenceLost, SourceUnavailable, StoreUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("one", "two"), 78),
        (SourceUnavailable("one"), 75),
        (StoreUnavailable("one"), 75),
        (CorruptState("one"), 75),
        (FenceLost("one"), 75),
        (
            ExceptionGroup("g", [StoreUnavailable("one"), ExceptionGroup("h", [ConfigurationError("two")])]),
            78,
        ),
    ],
)
def test_what_is_raised_on_purpose_is_printed_as_it_reads_and_has_its_code(error, code, capsys):
    with pytest.raises(SystemExit) as ended, errors_to_exit_codes():
        raise error
    assert ended.value.code == code
    printed = capsys.readouterr().err.splitlines()
    assert printed in (["one"], ["one", "two"])


@pytest.mark.parametrize(
    "error", [KeyError("x"), ExceptionGroup("g", [StoreUnavailable("one"), KeyError("x")])]
)
def test_everything_else_is_a_fault_with_its_traceback(error, capsys):
    with pytest.raises(SystemExit) as ended, errors_to_exit_codes():
        raise error
    assert ended.value.code == ExitCode.INTERNAL == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_command_that_ends_well_or_by_itself_is_left_alone():
    with errors_to_exit_codes():
        pass
    with pytest.raises(SystemExit) as ended, errors_to_exit_codes():
        raise SystemExit(ExitCode.FINDINGS)
    assert ended.value.code == 1
