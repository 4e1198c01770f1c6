"""How a command ends that was started beside the test."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

ENDS_WITHIN_S = 60.0
"""What a command may take; none takes so long unless the machine is busy with something else."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    errors: str


async def end_of(process: asyncio.subprocess.Process) -> Ended:
    """Wait for the end; a command that takes too long is killed. Raises `TimeoutError`."""
    try:
        out, errors = await asyncio.wait_for(process.communicate(), ENDS_WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), errors.decode())
