"""Measures edgelstm against other engines: a table, a picture and JSON for each question.

    python -m benchmarks                      every question: some twenty minutes
    python -m benchmarks steps int8           some of them (the same as --only steps int8)
    python -m benchmarks --quick              a smoke run of everything: the figures mean nothing
    python -m benchmarks targets              the table of what is to be reached, met or missed
    python -m benchmarks readme               the README's tables, written anew
    python -m benchmarks counts [--write]     instructions a step; see benchmarks/counts.py
    python -m benchmarks boards               what can be said of a Raspberry Pi without one
    python -m benchmarks.serve                readings a second through `edgelstm serve`

Questions: {questions}.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import boards, counts, readme, report, suite, targets
from benchmarks.machine import condition, describe
from benchmarks.questions import NAMES, question
from benchmarks.runtimes import NAMES as ENGINES
from benchmarks.worker import Request

VIEWS = {"targets": targets.main, "readme": readme.main, "counts": counts.main, "boards": boards.main}


def main(arguments: Sequence[str]) -> int:
    """The whole suite, or one of `VIEWS`."""
    if arguments and arguments[0] in VIEWS:
        return VIEWS[arguments[0]](arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=(__doc__ or "").format(questions=", ".join(NAMES)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="which ones; all when none is named")
    parser.add_argument("--only", nargs="+", default=[], metavar="QUESTION", help="the same as naming them")
    parser.add_argument("--engines", type=_names, default=ENGINES, metavar="LIST", help=f"of {','.join(ENGINES)}")
    parser.add_argument("--cases", default="", metavar="REGEX", help='only cases like this, as "LSTM 16→(32|64)$"')
    parser.add_argument("--runs", type=int, default=3, help="processes of each question, in rotation (default 3)")
    parser.add_argument("--rounds", type=int, default=11, help="interleaved rounds in a process (default 11)")
    parser.add_argument("--quick", action="store_true", help="one short run of a few cases: does it work at all?")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also all figures in one file")
    parser.add_argument(
        "--submit", type=Path, metavar="FILE", help="the same with board, temperature and throttle flags, to send in"
    )
    options = parser.parse_args(arguments)
    names = [*options.questions, *options.only] or list(NAMES)
    if unknown := sorted({*names} - {*NAMES}):
        parser.error(f"no question is called {unknown[0]!r}; there are {', '.join(NAMES)}")
    runs = 1 if options.quick else options.runs
    machine, before = describe(), condition()
    print(f"{report.header(machine)}\n", flush=True)
    asked = [Request(name, options.engines, options.cases, options.rounds, options.quick) for name in names]
    found = dict(zip(names, suite.run(asked, runs, _tell), strict=True))
    for name, rows in found.items():
        if rows:
            paths = report.write(options.out, name, question(name), rows, machine)
            print(f"\n{report.text(question(name), rows)}\n\n→ {', '.join(map(str, paths))}", flush=True)
    content: dict[str, object] = {"machine": machine}
    content |= {name: [row.plain() for row in rows] for name, rows in found.items()}
    if options.json:
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if options.submit:
        content = {"label": "measured", "before": before, "after": condition(), "runs": runs, **content}
        options.submit.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return 0


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := sorted({*names} - {*ENGINES}):
        raise argparse.ArgumentTypeError(f"no engine is called {unknown[0]!r}; there are {', '.join(ENGINES)}")
    return names


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
