"""What the figure of `test_all_at_once` means: how far one of two runs is behind the other."""

from __future__ import annotations

import pytest
from harness.side_by_side import Progress, loss


def run(began_s: float, *noted: tuple[float, float]) -> Progress:
    """A run that had done shares of its work at times after it began."""
    progress = Progress()
    progress.note(began_s - 1, 0.0)
    for at_s, share in noted:
        progress.note(began_s + at_s, share)
    return progress


CALM = run(100.0, (0.0, 0.1), (10.0, 0.2), (30.0, 0.8), (40.0, 1.0))


@pytest.mark.parametrize("began_s", [90.0, 100.0, 103.0])
def test_who_does_the_same_in_the_same_time_has_lost_nothing_whenever_it_began(began_s: float) -> None:
    same = run(began_s, (0.0, 0.1), (10.0, 0.2), (30.0, 0.8), (40.0, 1.0))

    assert loss(CALM, same) == pytest.approx(0.0)


def test_who_needs_a_quarter_more_time_has_lost_a_quarter_however_fast_it_is_in_the_end() -> None:
    slower = run(100.0, (0.0, 0.1), (12.5, 0.2), (37.5, 0.8), (40.0, 0.84), (41.0, 1.0))

    assert loss(CALM, slower) == pytest.approx(25.0)


def test_who_is_ahead_has_lost_less_than_nothing() -> None:
    faster = run(100.0, (0.0, 0.1), (8.0, 0.2), (24.0, 0.8), (32.0, 1.0))

    assert loss(CALM, faster) == pytest.approx(-20.0)


def test_what_is_not_done_has_no_end() -> None:
    with pytest.raises(ValueError, match="not in list"):
        loss(CALM, run(100.0, (0.0, 0.1), (9.0, 0.9)))
