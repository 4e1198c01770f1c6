"""The supervisor's own process: small, and careful whose modules its workers import."""

from __future__ import annotations

import subprocess
import sys


def test_a_supervisor_does_not_carry_what_only_its_workers_need():
    heavy = "{'azure', 'faust', 'sqlite3', 'consumer.composition', 'consumer.core.pipeline'}"
    asked = subprocess.run(
        [sys.executable, "-c", f"import sys, consumer.cli.run_workers; print({heavy} & set(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout == "set()\n"
