"""How much memory does the process that loads a layer and makes a step need at most?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import spread
from benchmarks.questions import Case, Effort
from benchmarks.questions.start import run_all
from benchmarks.results import Row

TITLE = "Peak resident memory of the process of `start`"
UNIT = "MB"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False


def cases(*, quick: bool) -> list[Case]:
    """As `start`."""
    return [Case("memory", "warm"), *([] if quick else [Case("memory", "cold: nothing compiled before")])]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """Each process once or thrice: it hardly varies."""
    cold = case.label != "warm"
    row, found = run_all(case, engines, 1 if cold or effort.quick else 3, cold=cold)
    row.figures = {name: spread([done.peak for done in runs]) for name, runs in found.items()}
    return [row]
