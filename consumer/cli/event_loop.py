"""Run a command's coroutine, on uvloop where it is installed, with a patient cycle collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


_YOUNG_MAX = 50_000
"""Objects made and not freed before Python's cycle collector looks at the young ones; its default is 700.
Events in flight are many and have no cycles: looking at them over and over finds nothing."""
_MIDDLE_MAX = 20
"""Looks at the young ones before one at those that have survived it; the default is 10."""


def run_async(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run to the end and give the result."""
    gc.freeze()  # what was imported stays, and need not be looked at
    gc.set_threshold(_YOUNG_MAX, _MIDDLE_MAX, _MIDDLE_MAX)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory
