"""What `inturn dlq` shows of a letter, and of a redrive."""

from __future__ import annotations

import json

import pytest
from harness.letters import Bench, body, letter
from rich.console import Console

from consumer.cli.dlq_report import print_letters, print_redrive, write_letter
from consumer.stores import COUNTED_MAX, LetterFilter

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("original", "trace"),
    [
        (body("fraud", 1, traceparent=f"00-{TRACE}-b7ad6b7169203331-01"), TRACE),
        (body("fraud", 1, traceparent="broken"), None),
        (body("fraud", 1), None),
        (b"[1]", None),
        (b"\xff", None),
    ],
)
def test_a_letter_says_to_which_trace_its_event_belongs(capfdbinary, original, trace):
    write_letter(letter("fraud", 1, original=original))
    assert json.loads(capfdbinary.readouterr().out).get("trace_id") == trace


def test_markup_in_what_came_from_outside_is_shown_as_it_is(capsys):
    print_letters(Console(width=200), [letter("fraud", 1, subject="[red]x[/red]", error="[/]")], 1)
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown
    assert "[/]" in shown


def test_letters_that_were_not_counted_to_the_end_are_so_many_or_more(capsys):
    print_letters(Console(width=200), [], COUNTED_MAX)
    assert "50000 or more dead letters, 0 shown" in capsys.readouterr().out


async def test_what_stays_is_said_with_the_reason(capsys):
    bench = Bench()
    await bench.put(letter("fraud", 1), letter("fraud", 2), letter("fraud", 1, key="g", processor="gone[b]"))
    bench.deploy.broken = {"fraud-1"}
    await bench.run(LetterFilter())
    capsys.readouterr()
    assert bench.redrive is not None

    print_redrive(Console(width=200), bench.redrive, is_dry=False)

    shown = capsys.readouterr().out
    assert "`inturn dlq list` says why letters failed again." in shown
    assert "Held back: an earlier letter of the object stays" in shown
    assert "1 letters of gone[b], which is not configured, stay." in shown
