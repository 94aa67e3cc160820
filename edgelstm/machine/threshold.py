"""What a helping thread costs on this machine, measured once and kept beside the compiled code; no measurement runs
for one thread.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm.graph.bind import bind
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.machine import places
from edgelstm.machine.compiled import Compiled, source_digest
from edgelstm.machine.folder import cache_folder, keep
from edgelstm.machine.team import Team, processors
from edgelstm.program.lowering import lower
from edgelstm.program.program import Program

GAIN = 1.5  # a thread is woken where it saves this many times what waking it costs
FILE = "threads.json"
_NEAR, _FAR = (16, 256, 256), (1, 1024, 2048)  # rows, inputs, outputs: weights inside a second-level cache, and beyond
_FAR_BYTES = 1 << 22  # weights from which the latter counts
_ROUNDS, _ASLEEP_SECONDS = 25, 1e-3
_MOST_MICROSECONDS = 1000.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What decides whether threads share a call.

    Attributes:
        wake: microseconds that it takes to have a sleeping thread take part.
        hand_over: the same for one that waits awake.
        near: bytes of weights that one thread gets through in a microsecond, where a cache holds them.
        far: the same for large weights.
    """

    wake: float
    hand_over: float
    near: float
    far: float

    def worth(self, weight_bytes: float, calls: int, threads: int, uses: int = 1) -> bool:
        """Whether threads gain by sharing each of `calls` stretches of work that follow each other.

        Args:
            weight_bytes: of the weights of a stretch.
            calls: stretches that follow each other at once.
            threads: how many share.
            uses: how often a stretch uses each weight while it is in a register or near.
        """
        rate = self.far if weight_bytes >= _FAR_BYTES and uses == 1 else self.near
        saved = weight_bytes * uses / rate * (1 - 1 / threads)
        return saved > GAIN * (self.hand_over + self.wake / max(calls, 1))


@cache
def costs(compiled: Compiled) -> Costs:
    """This machine's; measured (some 50 ms) where they are not kept already."""
    key = f"{source_digest()} {platform.machine()} {platform.node()} {processors()}"
    folder = cache_folder()
    path = folder / FILE if folder is not None else None
    found = _read(path, key)
    if found is None:
        found = measure(compiled)
        if path is not None:
            keep(path, json.dumps({key: asdict(found)}, indent=1).encode())
    return found


def worth(compiled: Compiled, threads: int, weight_bytes: float, calls: int, uses: int = 1) -> bool:
    """Whether so many threads are to share a stretch of work; see `Costs.worth`."""
    return costs(compiled).worth(weight_bytes, calls, threads, uses)


def measure(compiled: Compiled) -> Costs:
    """Measure now: the same work by one thread, by two of which one sleeps, and by two that are awake.

    What else runs on the machine hardly shows: of some rounds the lower quartile counts, and of threads that are awake
    the best.
    """
    from edgelstm.machine.executor import Machine

    machines = [Machine(_products(*_NEAR), compiled) for _ in range(2)]
    far = Machine(_products(*_FAR), compiled)
    records = np.zeros((2, places.RECORD), np.int64)
    records[:, places.KIND] = places.EXECUTE
    records[:, places.CONTEXT] = [machine.address for machine in machines]
    at, size = int(records.ctypes.data), int(records.strides[0])
    team = Team(compiled, 1)

    def both() -> None:
        compiled.share(team.address, compiled.do_record, at, size, 2)

    both()
    alone, asleep, awake, streamed = [], [], [], []
    for _ in range(_ROUNDS):
        alone.append(_time(lambda: compiled.execute_released(machines[0].address, 0)))
        time.sleep(_ASLEEP_SECONDS)
        asleep.append(_time(both))
        team.keen(True)
        both()
        awake.append(_time(both))
        team.keen(False)
        streamed.append(_time(lambda: compiled.execute_released(far.address, 0)))
    base, slept, long = (float(np.percentile(times, 25)) for times in (alone, asleep, streamed))
    waited = min(awake)
    wake, hand_over = (min(max(one - base, 0.1), _MOST_MICROSECONDS) for one in (slept, waited))
    return Costs(wake, hand_over, 4 * prod(_NEAR) / base, 4 * prod(_FAR) / long)


def _products(rows: int, inputs: int, outputs: int) -> Program:
    """Rows times a matrix."""
    weights = np.random.default_rng(0).normal(size=(outputs, inputs)).astype(np.float32)
    kind = TensorType("float32", (rows, inputs))
    node = make_node("linear", ["x", "w", ""], ["y"])
    return lower(bind(Graph(inputs={"x": kind}, outputs={"y": "y"}, nodes=(node,), constants={"w": weights}), {}))


def _time(call: Any) -> float:
    """Microseconds."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) * 1e-3


def _read(path: Path | None, key: str) -> Costs | None:
    """What is kept for a machine; None where it is not, or not as this wrote it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        found = Costs(**{name: float(value) for name, value in content[key].items()})
        return found if all(value > 0 for value in asdict(found).values()) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
