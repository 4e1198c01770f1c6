"""The order of starting and stopping.

Start: processors open, then the engine reads. Stop: the engine drains (nothing new, finish, checkpoint,
release), then processors close.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from consumer.errors import ConfigurationError, ProcessorSettingsError
from consumer.processor import Resource
from consumer.runtime.attempts import RunningProcessor
from consumer.runtime.engine import Engine
from consumer.runtime.engines import Engines
from consumer.runtime.signals import end_process

_CLOSE_S = 1.0
"""How long processors may take to close when one of them cannot be cut off."""


async def run_engine(engine: Engine | Engines, processors: Sequence[RunningProcessor]) -> None:
    """Run an engine from start to stop. Raises what keeps it from running.

    Attempts that cannot be cut off do not keep the process: when everything is stored and released, and the
    processors are closed, it ends with exit code 75.
    """
    async with AsyncExitStack() as stack:
        for processor in processors:
            await open_processor(processor, stack)

        async def end() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await stack.aclose()
            end_process()

        await engine.run(end)


async def open_processor(processor: RunningProcessor, stack: AsyncExitStack) -> None:
    """Open a processor if it wants that, and have `stack` close it; an error says whose it is."""
    name, target = processor.plan.name, processor.target
    if not isinstance(target, Resource):
        return
    try:
        await target.open()
    except ConfigurationError as error:
        raise ProcessorSettingsError(*(f"Processor {name}: {each}" for each in error.findings)) from error
    except Exception as error:
        error.add_note(f"While opening the processor {name}.")
        raise
    stack.push_async_callback(target.close)
