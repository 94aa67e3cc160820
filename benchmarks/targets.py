"""What is to be reached: each row measured in the same run as its peer, with what was wanted, seen, and the verdict."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report, suite
from benchmarks.machine import describe
from benchmarks.questions import question, ratio
from benchmarks.results import Row
from benchmarks.worker import Request

Found = Mapping[tuple[str, str, str], Row]  # question, group, label


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a target.

    Attributes:
        name: what it is called inside the target, as a hidden size.
        question: where it is measured, with `group` and `label` of the row.
        wanted: how many times better than `theirs`; with `at_most`, the most that our figure may be; 0: reported only.
        ours: the figure's name.
        theirs: the peer's; "bound" for the row's bound.
        their_label: another row of the same group, where the peer's figure stands there.
        at_most: the figure, or its ratio to the bound, is to be small.
    """

    name: str
    question: str
    group: str
    label: str
    wanted: float
    ours: str = "edgelstm"
    theirs: str = ""
    their_label: str = ""
    at_most: bool = False

    def seen(self, found: Found) -> float | str:
        """What was measured, or why it was not."""
        row = found[self.question, self.group, self.label]
        other = found[self.question, self.group, self.their_label or self.label]
        if self.ours not in row.figures:
            return row.missing.get(self.ours, "not measured")
        mine = row.figures[self.ours].median
        if not self.theirs:
            return mine
        if self.theirs == "bound":
            return mine / row.bound if row.bound else "no bound"
        if self.theirs not in other.figures:
            return other.missing.get(self.theirs, "not measured")
        return ratio(
            question(self.question), {"ours": mine, "theirs": other.figures[self.theirs].median}, "ours", "theirs"
        )

    def met(self, seen: float) -> bool:
        """Whether that is enough."""
        return seen <= self.wanted if self.at_most else seen >= self.wanted


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table."""

    work: str
    peer: str
    checks: tuple[Check, ...]

    def line(self, found: Found) -> list[str]:
        """Work, peer, wanted, seen, verdict."""
        unit = "×" if self.checks[0].theirs else " " + question(self.checks[0].question).UNIT
        sign = "≤ " if self.checks[0].at_most else ""
        wanted = " / ".join(f"{sign}{check.wanted:g}{unit}" if check.wanted else "reported" for check in self.checks)
        seen = [check.seen(found) for check in self.checks]
        shown = " / ".join(value if isinstance(value, str) else f"{value:.2f}{unit}" for value in seen)
        return [self.work, self.peer, wanted, shown, self._verdict(seen)]

    def _verdict(self, seen: Sequence[float | str]) -> str:
        open_ = [check.name for check, value in zip(self.checks, seen, strict=True) if isinstance(value, str)]
        missed = [
            check.name
            for check, value in zip(self.checks, seen, strict=True)
            if not isinstance(value, str) and not check.met(value)
        ]
        parts = [f"missed: {', '.join(missed)}"] if missed else []
        parts += [f"not measured: {', '.join(open_)}"] if open_ else []
        return "; ".join(parts) or "met"


def _several(where: str, group: str, theirs: str, wanted: Mapping[tuple[int, int], float]) -> tuple[Check, ...]:
    """A check for each size."""
    return tuple(
        Check(str(size[1]), where, group, f"{size[0]}→{size[1]}", least, theirs=theirs)
        for size, least in wanted.items()
    )


_STEP = {(16, 32): 5.5, (16, 64): 4, (16, 128): 2.5, (64, 256): 2}
_INT8 = {(16, 32): 5, (16, 64): 4.5, (16, 128): 4, (64, 256): 2.5, (128, 512): 1.8}
_RUN = {(16, 32): 2.5, (16, 64): 1.5, (16, 128): 1.5}
_KEYS = {(16, 32): 2.5, (16, 64): 1.6, (16, 128): 1.3}
_NAMES = {(16, 32): 1.6, (16, 64): 1.4, (16, 128): 1.2}
_POOL = {(16, 32): 3, (16, 64): 2, (16, 128): 1.6, (64, 256): 1.3}


def _of_cell(cell: str) -> list[Target]:
    long = Check("float", "runs", cell, "128→512", 1.0, theirs="onnxruntime")
    long8 = Check("int8", "runs", f"{cell} int8", "128→512", 1.3, theirs="onnxruntime")
    return [
        Target(
            f"{cell} one step from Python (`out=`), hidden 32 / 64 / 128 / 256",
            "LiteRT cell",
            _several("steps", cell, "litert", _STEP),
        ),
        Target(
            f"{cell} one step int8, 32 / 64 / 128 / 256 / 512",
            "LiteRT int8",
            _several("int8", f"{cell} int8", "litert", _INT8),
        ),
        Target(
            f"{cell} per step inside `stream.run`, hidden 32 / 64 / 128, input 16",
            "ONNX Runtime whole sequence",
            _several("runs", cell, "onnxruntime", _RUN),
        ),
        Target(
            f"{cell} per step inside `stream.run`, hidden 512, input 128, T = 100, float / int8",
            "ONNX Runtime float / int8",
            (long, long8),
        ),
    ]


def _pools(cell: str, group: str, title: str) -> Target:
    return Target(title, "ONNX Runtime batch 256", _several("pools", group, "onnxruntime", _POOL))


TARGETS = (
    *_of_cell("LSTM"),
    Target(
        "Python overhead of `stream.step` over the kernel itself",
        "–",
        (Check("32", "overhead", "overhead", "LSTM 16→32", 0.35, ours="step(out=) less kernel", at_most=True),),
    ),
    *_of_cell("GRU"),
    _pools("LSTM", "LSTM", "pool of 256 by slots, LSTM, hidden 32 / 64 / 128 / 256"),
    _pools("GRU", "GRU", "pool of 256 by slots, GRU, hidden 32 / 64 / 128 / 256"),
    *(
        Target(
            f"256 of 10,000 streams a call by {keys}, LSTM, hidden 32 / 64 / 128",
            "ONNX Runtime batch 256",
            _several("pools", group, "onnxruntime", wanted),
        )
        for keys, group, wanted in (
            ("slots", "LSTM of 10,000", _KEYS),
            ("names, the same strings each call", "LSTM of 10,000 by names", _NAMES),
            ("names, new strings each call", "LSTM of 10,000 by new names", _NAMES),
        )
    ),
    Target(
        "int8 batch 256, LSTM, hidden 32 / 64 / 128 / 256",
        "ONNX Runtime int8",
        _several("pools", "LSTM int8", "onnxruntime", dict.fromkeys(_POOL, 1.3)),
    ),
    Target(
        "two threads: LSTM hidden 1024 one step; pool of 4096 streams (LSTM 16→64)",
        "own one thread",
        tuple(
            Check(name, "threads", group, "2 threads", least, theirs="edgelstm", their_label="1 thread")
            for name, group, least in (
                ("1024", "one step of LSTM 128→1024", 1.5),
                ("4096 streams", "4096 streams of LSTM 16→64", 1.8),
            )
        ),
    ),
    Target(
        "load and first step, whole process: prebuilt library / its bare loader / numba",
        "python + onnxruntime doing the same",
        tuple(
            Check(name, "start", "start", "warm", least, ours=f"edgelstm, {name}", theirs="onnxruntime")
            for name, least in (("prebuilt", 1.0), ("bare loader", 1.0), ("numba", 0.0))
        ),
    ),
    Target(
        "bound: LSTM hidden 128 float inside `run`",
        "weight bytes over measured read bandwidth",
        (Check("128", "runs", "LSTM", "16→128", 1.3, theirs="bound", at_most=True),),
    ),
)


def requests(chosen: Sequence[Target], rounds: int, *, quick: bool) -> list[Request]:
    """What is to be measured: of each question only the cases and engines that a check names."""
    cases: dict[str, dict[str, None]] = {}
    engines: dict[str, dict[str, None]] = {}
    for check in (check for target in chosen for check in target.checks):
        for label in {check.label, check.their_label or check.label}:
            cases.setdefault(check.question, {})[f"^{re.escape(f'{check.group} {label}')}$"] = None
        engines.setdefault(check.question, {"edgelstm": None})
        if check.theirs not in ("", "bound"):
            engines[check.question][check.theirs] = None
    return [
        Request(name, tuple(engines[name]), "|".join(found), 3 if quick else rounds) for name, found in cases.items()
    ]


def main(arguments: Sequence[str]) -> int:
    """`python -m benchmarks targets`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks targets", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="processes of each question, in rotation (default 3)")
    parser.add_argument("--rounds", type=int, default=11, help="interleaved rounds in a process (default 11)")
    parser.add_argument("--quick", action="store_true", help="one run of three rounds: a rough look")
    parser.add_argument("--only", metavar="TEXT", default="", help="only targets whose work holds this text")
    parser.add_argument("--figures", action="store_true", help="also the tables that the ratios come from")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also the figures behind it")
    options = parser.parse_args(arguments)
    chosen = [target for target in TARGETS if options.only in target.work]
    if not chosen:
        parser.error(f"no target holds {options.only!r}")
    machine = describe()
    asked = requests(chosen, options.rounds, quick=options.quick)
    runs = 1 if options.quick else options.runs
    found = dict(zip(asked, suite.run(asked, runs, lambda text: print(text, file=sys.stderr)), strict=True))
    rows = {(request.question, *row.key): row for request, measured in found.items() for row in measured}
    print(f"{report.header(machine)}\n\n{table(chosen, rows)}")
    if options.figures:
        for request, measured in found.items():
            print(f"\n{report.text(question(request.question), measured)}")
    if options.json:
        content = {"machine": machine, **{ask.question: [row.plain() for row in got] for ask, got in found.items()}}
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return 0


def table(chosen: Sequence[Target], found: Found) -> str:
    """Markdown."""
    head = ["work", "peer", "at least", "seen", "verdict"]
    lines = [head, ["---"] * len(head), *(target.line(found) for target in chosen)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
