"""The simulated event loop keeps what asyncio promises, and kills and freezes as a machine would."""

from __future__ import annotations

import asyncio
from typing import Any

from simulation.loop import Deadlock, SimLoop


def run(loop: SimLoop, main: Any) -> Any:
    return loop.run(main, before_closing=lambda: None)


def test_time_stands_still_while_anything_is_ready_and_then_jumps() -> None:
    loop = SimLoop(1)

    async def main() -> list[float]:
        times = [loop.time()]
        for _ in range(100):
            await asyncio.sleep(0)
        times.append(loop.time())
        await asyncio.sleep(3_600)
        return [*times, loop.time()]

    assert run(loop, main()) == [0.0, 0.0, 3_600.0]


def test_callbacks_of_one_process_run_in_the_order_in_which_they_were_scheduled() -> None:
    loop = SimLoop(1)
    ran: list[int] = []

    async def process() -> None:
        for number in range(50):
            loop.call_soon(ran.append, number)

    async def main() -> None:
        loop.start("one", process())
        loop.start("other", asyncio.sleep(1))
        await asyncio.sleep(2)

    run(loop, main())

    assert ran == list(range(50))


def test_whose_turn_it_is_depends_on_the_seed_alone() -> None:
    def order(seed: int) -> list[str]:
        loop = SimLoop(seed)
        ran: list[str] = []

        async def process(name: str) -> None:
            for _ in range(10):
                ran.append(name)
                await asyncio.sleep(0)

        async def main() -> None:
            for name in "abc":
                loop.start(name, process(name))
            await asyncio.sleep(1)

        run(loop, main())
        return ran

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_a_killed_process_runs_nothing_any_more_not_even_what_it_wanted_to_tidy_up() -> None:
    loop = SimLoop(1)
    ran: list[str] = []

    async def child() -> None:
        try:
            async with asyncio.timeout(100):
                await asyncio.sleep(50)
        finally:
            ran.append("tidied up")

    async def process() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child())
            tasks.create_task(child())

    async def main() -> list[str]:
        owner = loop.start("victim", process())
        await asyncio.sleep(1)
        loop.kill(owner)
        await asyncio.sleep(200)
        return list(ran)

    assert run(loop, main()) == []
    assert loop.errors == []


def test_a_frozen_process_goes_on_where_it_was_when_all_its_timers_are_due() -> None:
    loop = SimLoop(1)
    seen: list[tuple[float, str]] = []

    async def process() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append((loop.time(), "awake"))

    async def main() -> None:
        owner = loop.start("sleeper", process())
        await asyncio.sleep(1.5)
        loop.freeze(owner)
        await asyncio.sleep(30)
        loop.thaw(owner)
        await asyncio.sleep(30)

    run(loop, main())

    assert [at_s for at_s, _ in seen] == [1.0, 31.5, 32.5]


def test_what_a_thread_does_comes_back_later_with_its_error() -> None:
    loop = SimLoop(1)

    async def main() -> float:
        assert await asyncio.to_thread(lambda: 7) == 7
        try:
            await asyncio.to_thread(int, "x")
        except ValueError:
            return loop.time()
        raise AssertionError("the error was lost")

    assert 0 < run(loop, main()) < 0.1


def test_what_waits_for_nothing_is_an_error_and_not_a_hang() -> None:
    loop = SimLoop(1)

    async def main() -> None:
        await asyncio.Event().wait()

    try:
        run(loop, main())
    except Deadlock:
        return
    raise AssertionError("it has ended")
