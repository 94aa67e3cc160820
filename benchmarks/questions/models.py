"""How long does one step of real models take from Python, states carried?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.questions import Case, Effort, compare
from benchmarks.real_models import FILES
from benchmarks.results import Row
from benchmarks.runtimes import runtime

TITLE = "One step of real models from Python, one thread, states carried"
UNIT = "µs"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False


def cases(*, quick: bool) -> list[Case]:
    """Files that every reader of ONNX can take."""
    names = ["rnnoise, one frame"] if quick else list(FILES)
    return [Case("", name, FILES[name]) for name in names]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """Each engine on the same file; the answers are compared."""
    row = Row(case.group, case.label)
    return [compare(row, engines, lambda name: runtime(name).model(case.value(), 1), effort, same=1e-3)]
