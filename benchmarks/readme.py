"""Writes the README's tables anew, between its marks: the steps, int8 and real models, in one run of a few minutes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, suite
from benchmarks.machine import describe
from benchmarks.questions import question
from benchmarks.runtimes import NAMES
from benchmarks.worker import Request

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- benchmarks -->\n", "<!-- /benchmarks -->\n"
MEANING = """\
Every engine takes its turn on one processor; medians, with the lowest and highest quartile of several processes. The
bound is what reading the weights takes at the bandwidth measured in the run. How, and why figures are missing:
[docs/benchmarks.md](docs/benchmarks.md)."""
_TOOLS = ("llvmlite", "onnx", "matplotlib")  # versions that no figure here depends on, or another one tells
SIZES = r"^(LSTM|GRU)( int8)? (16→32|16→64|16→128|64→256)$"
PARTS = (("steps", SIZES), ("int8", SIZES), ("models", ""))


def main(arguments: Sequence[str]) -> int:
    """`python -m benchmarks readme`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks readme", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="processes of each question, in rotation (default 3)")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds in a process (default 7)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: the figures mean nothing")
    parser.add_argument("--file", type=Path, default=README, help="the file to write to (default: the README)")
    options = parser.parse_args(arguments)
    text = options.file.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        parser.error(f"{options.file} has no lines {BEGIN.strip()} and {END.strip()}")
    machine = describe()
    asked = [Request(name, NAMES, cases, options.rounds, options.quick) for name, cases in PARTS]
    found = suite.run(asked, 1 if options.quick else options.runs, lambda what: print(what, file=sys.stderr))
    tables = [report.text(question(ask.question), rows) for ask, rows in zip(asked, found, strict=True) if rows]
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    body = "\n\n".join([sentence(machine), *tables])
    options.file.write_text(f"{head}{BEGIN}{body}\n{END}{tail}", encoding="utf-8")
    print(body)
    return 0


def sentence(machine: dict[str, str]) -> str:
    """The machine as one paragraph."""
    left_out = {"not installed", "unknown"}
    facts = {key: value for key, value in machine.items() if value not in left_out and key not in _TOOLS}
    versions = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "cpu")
    return f"Measured on {facts['cpu']}: {versions}.\n{MEANING}"
