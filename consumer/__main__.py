"""The ``inturn`` command, and ``python -m consumer``."""

from __future__ import annotations

import signal
import sys

from consumer.cli import app
from consumer.cli.exit_codes import errors_to_exit_codes


def main() -> None:
    """Run the command line; ends the process."""
    # A command that has something to finish sets a handler of its own. Until then there is nothing to
    # finish; and without any, the first process of a container would not hear the signal at all.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with errors_to_exit_codes():
            app(prog_name="inturn")
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell expects of what Ctrl-C ended


if __name__ == "__main__":
    main()
