"""How long from starting Python to the first prediction, the process's end included?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import processes
from benchmarks.measure import spread
from benchmarks.questions import Case, Effort, unavailable
from benchmarks.results import Row
from benchmarks.runtimes import NAMES

TITLE = "Start, load a layer, one step, exit: the whole process; files are in the page cache"
UNIT = "ms"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False


def cases(*, quick: bool) -> list[Case]:
    """Warm: what was compiled before is found. Cold: nothing is."""
    return [Case("start", "warm"), *([] if quick else [Case("start", "cold: nothing compiled before")])]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """Every process in turn, round after round."""
    cold = case.label != "warm"
    runs = run_all(case, engines, 1 if cold or effort.quick else max(3, effort.rounds // 2), cold=cold)
    row = runs[0]
    row.figures = {name: spread([done.seconds * 1e3 for done in found]) for name, found in runs[1].items()}
    return [row]


def run_all(
    case: Case, engines: Sequence[str], rounds: int, *, cold: bool = False
) -> tuple[Row, dict[str, list[processes.Done]]]:
    """Every engine's program; ours in each way that it comes."""
    row = Row(case.group, case.label)
    ways = processes.OURS[-1:] if cold else processes.OURS[:-1]
    names = [*(ways if "edgelstm" in engines else ()), *(name for name in engines if name in NAMES[1:] and not cold)]
    programs = {}
    for name in names:
        with unavailable(row, name):
            programs[name] = processes.program(name)
    found: dict[str, list[processes.Done]] = {name: [] for name in programs}
    for number in range(rounds + (not cold)):
        for name, program in programs.items():
            done = program()
            if number or cold:  # the first fills the page cache
                found[name].append(done)
    return row, found
