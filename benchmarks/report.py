"""A table, a picture and JSON for each question."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import Timing
from benchmarks.questions import Question
from benchmarks.results import Row
from benchmarks.runtimes import NAMES, runtime_file


def show_name(engine: str) -> str:
    """How an engine is called in public; other names stand for themselves."""
    return runtime_file(engine).NAME if engine in NAMES else engine


def table(question: Question, rows: Sequence[Row]) -> str:
    """A Markdown table: medians with quartiles, how many times better ours is than the best peer, the bound."""
    engines = _engines(rows)
    bounds = any(row.bound is not None for row in rows)
    peers = "edgelstm" in engines and any(name in NAMES[1:] for name in engines)
    head = ["", *map(show_name, engines)]
    head += [*(["against the best peer"] if peers else []), *(["bound"] if bounds else [])]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        line = [
            _case(row),
            *(figure(row.figures[name]) if name in row.figures else "–" for name in engines),
        ]
        if peers:
            line.append(_best_ratio(question, row))
        if bounds:
            line.append("–" if row.bound is None else number(row.bound))
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def notes(rows: Sequence[Row]) -> list[str]:
    """Why figures are missing, each reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, why in row.missing.items():
            reasons.setdefault((show_name(name), why), []).append(_case(row))
    found = []
    for (name, why), cases in reasons.items():
        where = "" if len(cases) == len(rows) else f" ({', '.join(cases) if len(cases) < 4 else f'{len(cases)} rows'})"
        found.append(f"{name}: {why}{where}")
    return found


def picture(question: Question, rows: Sequence[Row], path: Path) -> None:
    """One panel a group, a line an engine, spread as bars; both axes as the table has them. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "edgelstm"
    from matplotlib import pyplot as plt

    groups = list(dict.fromkeys(row.group for row in rows))
    across = min(3, len(groups))
    down = -(-len(groups) // across)
    figure_, axes = plt.subplots(down, across, figsize=(1.5 + 4.2 * across, 1 + 3.4 * down), squeeze=False)
    engines = _engines(rows)
    for place, axis in enumerate(axes.flat):
        if place >= len(groups):
            axis.axis("off")
            continue
        _panel(axis, [row for row in rows if row.group == groups[place]], engines)
        axis.set_title(groups[place], fontsize=9)
    axes[0][0].set_ylabel(question.UNIT)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure_.legend(handles, labels, loc="lower center", ncols=min(5, len(labels)), fontsize=8, frameon=False)
    figure_.suptitle(question.TITLE, fontsize=10)
    figure_.tight_layout(rect=(0, 0.04 + 0.05 * (len(labels) > 5), 1, 1))
    figure_.savefig(path, metadata={"Date": None})
    plt.close(figure_)


def _panel(axis: Any, rows: Sequence[Row], engines: Sequence[str]) -> None:
    labels = [row.label for row in rows]
    for colour, name in enumerate(engines):
        places = [place for place, row in enumerate(rows) if name in row.figures]
        found = [rows[place].figures[name] for place in places]
        spread = [[max(0.0, t.median - t.low) for t in found], [max(0.0, t.high - t.median) for t in found]]
        style = {"color": "black", "linewidth": 2} if name == "edgelstm" else {"color": f"C{colour}", "linewidth": 1}
        axis.errorbar(places, [t.median for t in found], spread, marker="o", ms=3, label=show_name(name), **style)
    if any(row.bound is not None for row in rows):
        axis.plot([row.bound for row in rows], color="grey", linestyle=":", label="bound")
    axis.set_yscale("log" if all(t.median > 0 for row in rows for t in row.figures.values()) else "symlog")
    axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=7)
    axis.grid(alpha=0.3)


def write(folder: Path, name: str, question: Question, rows: Sequence[Row], machine: Mapping[str, Any]) -> list[Path]:
    """NAME.md, NAME.json and, where matplotlib is installed, NAME.svg; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [folder / f"{name}.md", folder / f"{name}.json"]
    found[0].write_text(f"{text(question, rows)}\n\n{header(machine)}\n", encoding="utf-8")
    content = {
        "question": name,
        "title": question.TITLE,
        "unit": question.UNIT,
        "more_is_better": question.MORE_IS_BETTER,
        "machine": machine,
        "rows": [row.plain() for row in rows],
    }
    found[1].write_text(json.dumps(content, indent=1), encoding="utf-8")
    if find_spec("matplotlib") is not None:
        found.append(folder / f"{name}.svg")
        picture(question, rows, found[2])
    return found


def text(question: Question, rows: Sequence[Row]) -> str:
    """Title, table and notes."""
    parts = [f"**{question.TITLE}** (measured; {question.UNIT}, median and quartiles)", table(question, rows)]
    said = [*notes(rows), *dict.fromkeys(f"{_case(row)}: {row.note}" for row in rows if row.note)]
    if said:
        parts.append("\n".join(f"- {line}" for line in said))
    return "\n\n".join(parts)


def header(machine: Mapping[str, Any]) -> str:
    """The machine and the versions, a line each."""
    return "\n".join(f"{key}: {value}" for key, value in machine.items())


def figure(timing: Timing) -> str:
    """Median and quartiles."""
    if timing.low == timing.high:
        return number(timing.median)
    return f"{number(timing.median)} ({number(timing.low)}–{number(timing.high)})"


def number(value: float) -> str:
    """With three significant digits, and no exponent."""
    if value == 0:
        return "0"
    return f"{value:.{min(3, max(0, 2 - math.floor(math.log10(abs(value)))))}f}"


def _case(row: Row) -> str:
    return f"{row.group} {row.label}".strip()


def _engines(rows: Sequence[Row]) -> list[str]:
    """All that have a figure, ours first, in the order of `NAMES`."""
    found = dict.fromkeys(name for row in rows for name in row.figures)
    return sorted(found, key=lambda name: NAMES.index(name) if name in NAMES else -1)


def _best_ratio(question: Question, row: Row) -> str:
    peers = {name: row.figures[name].median for name in NAMES[1:] if name in row.figures}
    if not peers or "edgelstm" not in row.figures:
        return "–"
    best = (max if question.MORE_IS_BETTER else min)(peers, key=peers.__getitem__)
    ours = row.figures["edgelstm"].median
    if not ours or not peers[best]:
        return "–"
    times = ours / peers[best] if question.MORE_IS_BETTER else peers[best] / ours
    return f"{times:.2f}× {show_name(best)}" if times < 10 else f"{times:.0f}× {show_name(best)}"
