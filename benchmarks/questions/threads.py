"""What do two threads bring, against one thread of the same engine?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.layers import Layer
from benchmarks.questions import Case, Effort, compare, layer_call
from benchmarks.results import Row

TITLE = "One thread and two; each engine in a process of its own, in turn, on two processors"
UNIT = "µs a call"
MORE_IS_BETTER = False
THREADS = 2
ALTERNATE = True

CALLS = {
    "one step of LSTM 128→1024": (Layer("LSTM", 128, 1024), 1),
    "one step of GRU 128→1024": (Layer("GRU", 128, 1024), 1),
    "4096 streams of LSTM 16→64": (Layer("LSTM", 16, 64), 4096),
    "one step of LSTM 16→32": (Layer("LSTM", 16, 32), 1),
}


def cases(*, quick: bool) -> list[Case]:
    """Large calls, and a small one that must not become slower."""
    calls = {name: call for name, call in CALLS.items() if not quick or call[1] == 4096}
    return [
        Case(name, f"{threads} thread{'s' * (threads > 1)}", (*call, threads))
        for name, call in calls.items()
        for threads in (1, 2)
    ]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """`threads=` of streams and pools; the peers' own settings."""
    layer, rows, threads = case.value
    return [compare(Row(case.group, case.label), engines, layer_call(layer, 1, rows, threads), effort)]
