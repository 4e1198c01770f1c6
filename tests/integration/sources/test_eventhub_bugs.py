"""A bug behind the source ends the process instead of being tried for ever."""

from __future__ import annotations

import asyncio

import pytest


async def test_an_error_that_nobody_foresaw_ends_the_source_with_that_error(make_source, intake):
    intake.errors.append(TypeError("a bug"))

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(make_source().run(intake))

    assert caught.group_contains(TypeError, match="a bug")
    assert not intake.owned
