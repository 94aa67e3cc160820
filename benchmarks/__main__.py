"""`make bench`: every table of the README, measured in one run. `--json FILE` keeps the figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import int8, models, pools, steps, tail
from benchmarks.machine import describe

QUESTIONS = {
    "steps": steps.measure,
    "models": models.measure,
    "tail": tail.measure,
    "pools": pools.measure,
    "int8": int8.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", choices=[*QUESTIONS, []], help="which tables; all when none is named")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--rounds", type=int, default=21, help="interleaved rounds a table (default 21)")
    options = parser.parse_args()
    machine = describe()
    print("\n".join(f"{key}: {value}" for key, value in machine.items()), end="\n\n")
    results = {}
    for name in options.questions or QUESTIONS:
        rows = QUESTIONS[name](options.rounds)
        results[name] = rows
        print(f"{name} (measured)\n{as_table(rows)}\n")
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine, **results}, indent=1), encoding="utf-8")
    return 0


def as_table(rows: list[dict[str, object]]) -> str:
    """Rows as a Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[key]) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
