"""How a command ends: the exit codes, and the one place where errors become one of them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from consumer.errors import ConfigurationError, InturnError


class ExitCode(IntEnum):
    """What a shell or a supervisor is told."""

    FINE = 0
    FINDINGS = 1
    """The command did its work, and what it found is not fine."""
    USAGE = 2
    """The command line is wrong."""
    INTERNAL = 70
    """A fault in inturn itself, or in a processor it could not contain."""
    TEMPORARY = 75
    """Something outside does not answer or cannot be read; starting again may help."""
    CONFIGURATION = 78
    """The configuration is wrong; starting again does not help."""


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """End the process with the code that belongs to an error.

    What inturn raises on purpose is printed on standard error as it reads, without a traceback; a group
    of such errors ends with the most lasting one's code. Everything else is a fault: traceback and 70.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the last boundary
        leaves = list(_leaves(error))
        expected = [leaf for leaf in leaves if isinstance(leaf, InturnError)]
        if len(expected) < len(leaves):
            traceback.print_exception(error)
            sys.exit(ExitCode.INTERNAL)
        for leaf in expected:
            print(leaf, file=sys.stderr)
        sys.exit(max(exit_code_of(leaf) for leaf in expected))


def exit_code_of(error: InturnError) -> ExitCode:
    """The code for what inturn raises on purpose."""
    return ExitCode.CONFIGURATION if isinstance(error, ConfigurationError) else ExitCode.TEMPORARY


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a (nested) group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
