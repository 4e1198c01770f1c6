"""The ``inturn`` command, and ``python -m consumer``."""

from __future__ import annotations

from consumer.cli import app
from consumer.cli.exit_codes import errors_to_exit_codes


def main() -> None:
    """Run the command line; ends the process."""
    with errors_to_exit_codes():
        app(prog_name="inturn")


if __name__ == "__main__":
    main()
