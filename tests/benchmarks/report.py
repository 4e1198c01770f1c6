"""Write what was measured as a page and a picture: RESULTS.md and results.svg, from results.json.

results.json keeps the figures of the last run of each part: so `make bench` and `make bench-peers` share one
page.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.goals import GOALS, Figure, written

FOLDER = Path(__file__).parent
_BUILD = "in-memory-cpu-per-event"
"""The figure whose note says which build of the product was measured."""
TITLES = {
    "in-memory-vs-hand-loop": "whole pipeline in memory, CPU, vs a hand-written loop",
    "durable-vs-hand-loop": "the same with durable state and checkpoints",
    "socket-cpu-vs-sdk-default": "socket to processors, CPU, vs azure-eventhub by default",
    "socket-cpu-vs-sdk-best": "the same, vs azure-eventhub at its best",
    "one-partition-wall-vs-sdk-default": "one partition, time, vs azure-eventhub by default",
    "low-rate-latency-p99-vs-sdk": "latency at a low rate, p99, vs azure-eventhub",
    "in-memory-vs-bytewax": "in memory, CPU, vs Bytewax",
    "in-memory-vs-quix": "in memory, CPU, vs Quix Streams",
    "in-memory-vs-faust": "in memory, CPU, vs Faust",
    "two-workers-vs-one": "two worker processes vs one, events a second",
    "low-rate-latency-p99": "latency from the socket to a processor, low rate, p99",
    "half-load-latency-p99": "latency at half load, p99",
    "memory-per-object": "memory for an object (1,000,000 of them)",
    "memory-per-identity": "memory for an identity (1,000,000 of them)",
}
"""Of the figures that have goals, in the order in which they are shown; all are there."""
assert TITLES.keys() == GOALS.keys()


def keep(figures: Sequence[Figure], folder: Path = FOLDER) -> None:
    """Put figures in the place of those that had their names, and write the page and the picture anew."""
    kept_file = folder / "results.json"
    kept: dict[str, Any] = json.loads(kept_file.read_text()) if kept_file.exists() else {}
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    for each in figures:
        kept[each.name] = {"value": each.value, "unit": each.unit, "note": each.note, "measured": when}
    kept_file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    known = {name: Figure(name, of["value"], of["unit"], of["note"]) for name, of in kept.items()}
    days = sorted({of["measured"] for of in kept.values()})
    (folder / "RESULTS.md").write_text(page(known, " and ".join(dict.fromkeys((days[0], days[-1])))))
    (folder / "results.svg").write_text(picture(known))


def page(figures: dict[str, Figure], when: str) -> str:
    """The figures as tables."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    build = figures[_BUILD].note if _BUILD in figures else "which build was not noted"
    lines = [
        "# Results",
        "",
        "Written by `make bench` and `make bench-peers`; what the figures mean is in [README.md](README.md).",
        f"Measured {when} on {machine}: {build}.",
        "Ratios are medians: 2 x is half the cost, or twice the speed, of the other.",
        "",
        "![The ratios beside their goals](results.svg)",
        "",
        "| figure | measured | goal | | spread |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    lines += [_goal_row(figures.get(name), name, title) for name, title in TITLES.items()]
    lines += ["", "## Beside them", "", "| name | measured | |", "| --- | ---: | --- |"]
    others = [figure for name, figure in sorted(figures.items()) if name not in TITLES]
    lines += [f"| {each.name} | {written(each.value)} {_unit(each)} | {each.note} |" for each in others]
    return "\n".join(lines) + "\n"


def _goal_row(figure: Figure | None, name: str, title: str) -> str:
    goal = GOALS[name]
    if figure is None:
        return f"| {title} | not measured | {goal.op} {written(goal.value)} | | |"
    verdict = "met" if figure.is_met else "**missed**"
    measured = f"{written(figure.value)} {_unit(figure)}"
    return f"| {title} | {measured} | {goal.op} {written(goal.value)} | {verdict} | {figure.note} |"


def _unit(figure: Figure) -> str:
    return {"us": "µs"}.get(figure.unit, figure.unit)


_WIDTH, _LABELS, _ROW, _TOP = 860, 390, 30, 56
_SPAN = 0.05, 100.0
"""Ratios from the left edge to the right one; the axis is logarithmic."""
_HEADING = "How many times cheaper or faster than others at the same work"
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .quiet { fill: #57606a; font-size: 12px }
  .met { fill: #1a7f37 } .missed { fill: #bc4c00 } .goal { stroke: #24292f; stroke-width: 2 }
  .grid { stroke: #8c959f; stroke-opacity: .35 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .goal { stroke: #e6edf3 }
    .met { fill: #3fb950 } .missed { fill: #f0883e }
  }
"""


def picture(figures: dict[str, Figure]) -> str:
    """The ratios as bars from 1, with their goals as marks."""
    rows = [(title, figures[name]) for name, title in TITLES.items() if name in figures]
    ratios = [(title, figure) for title, figure in rows if figure.unit == "x"]
    height = _TOP + _ROW * len(ratios) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{_HEADING}, beside the goals</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="12" y="24">{_HEADING} (the mark is the goal)</text>',
        *_grid(height),
    ]
    for index, (title, figure) in enumerate(ratios):
        parts += _bar(_TOP + _ROW * index, title, figure)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _at(value: float) -> float:
    low, high = _SPAN
    share = math.log(min(max(value, low), high) / low) / math.log(high / low)
    return _LABELS + share * (_WIDTH - _LABELS - 60)


def _grid(height: int) -> Iterable[str]:
    for value in (0.1, 1, 10, 100):
        x = _at(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 12}" y2="{height - 26}"/>'
        yield f'<text class="quiet" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{value:g}×</text>'


def _bar(y: int, title: str, figure: Figure) -> Iterable[str]:
    left, right = sorted((_at(1), _at(figure.value)))
    goal = GOALS[figure.name]
    colour = "met" if figure.is_met else "missed"
    at_goal, middle = _at(goal.value), y + 14
    yield f'<text x="{_LABELS - 10}" y="{middle}" text-anchor="end">{escape(title)}</text>'
    yield f'<rect class="{colour}" x="{left:.1f}" y="{y + 2}" width="{right - left:.1f}" height="16" rx="2"/>'
    yield f'<line class="goal" x1="{at_goal:.1f}" x2="{at_goal:.1f}" y1="{y - 1}" y2="{y + 21}"/>'
    end = max(right, at_goal) + 6
    yield f'<text x="{end:.1f}" y="{middle}">{written(figure.value)}×</text>'
