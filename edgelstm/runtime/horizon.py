"""How many readings until a stream no longer depends on the state that it started from.

Two streams take the same readings from different states: one from the model's start, the other from where other
readings have brought it. The horizon is the number of steps after which their outputs stay together. It is measured
on readings, so give some of your own: a model may forget fast on one kind of signal and slowly on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array

if TYPE_CHECKING:
    from edgelstm.runtime.stream import Stream

TRIALS = 4


@dataclass(frozen=True, slots=True)
class Horizon:
    """What was measured.

    Attributes:
        steps: readings after which outputs differ by `tolerance` at most; None where they did not come together.
        tolerance: as a part of the largest output.
        readings: how many were tried.
        trials: pairs of streams.
    """

    steps: int | None
    tolerance: float
    readings: int
    trials: int


def measure(make: Any, xs: Any, tolerance: float, longest: int) -> Horizon:
    """The horizon of streams that `make` makes.

    Args:
        make: gives a fresh stream.
        xs: (T, ...) readings as `Stream.run` takes them, or None for random ones.
        tolerance: as a part of the largest output.
        longest: readings that are tried at most.

    Raises:
        InputError: an argument does not fit.
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance: expected a part of the outputs' size between 0 and 1, got {tolerance!r}")
    if not isinstance(longest, int) or longest < 2:
        raise InputError(f"longest: expected at least 2 readings, got {longest!r}")
    worst: int | None = 0
    count = 0
    for trial in range(TRIALS):
        rng = np.random.default_rng(trial)
        fresh, used = make(), make()
        rows, other = _readings(fresh, xs, longest, rng), _readings(fresh, xs, longest, rng)
        count = len(next(iter(rows.values())))
        used.run({name: _turned(array, rng) for name, array in other.items()})
        steps = _together(_outputs(fresh, rows), _outputs(used, rows), tolerance)
        worst = None if worst is None or steps is None else max(worst, steps)
    return Horizon(worst, tolerance, count, TRIALS)


def _together(a: Sequence[Array], b: Sequence[Array], tolerance: float) -> int | None:
    """The step from which on all outputs are alike."""
    steps = 0
    for one, other in zip(a, b, strict=True):
        x, y = one.reshape(len(one), -1).astype(np.float64), other.reshape(len(other), -1).astype(np.float64)
        limit = tolerance * max(np.abs(x).max(initial=0), np.abs(y).max(initial=0))
        apart = np.flatnonzero((np.abs(x - y) > limit).any(axis=1))
        if len(apart):
            if apart[-1] + 1 >= len(x):
                return None
            steps = max(steps, int(apart[-1]) + 1)
    return steps


def _outputs(stream: Stream, rows: dict[str, Array]) -> list[Array]:
    found = stream.run(rows)
    return list(found.values()) if isinstance(found, dict) else [found]


def _readings(stream: Stream, xs: Any, longest: int, rng: np.random.Generator) -> dict[str, Array]:
    """The caller's readings from a random place on, or random ones."""
    kinds = stream.inputs
    if xs is None:
        found: dict[str, Array] = {}
        for name, kind in kinds.items():
            shape = (longest, *(int(str(dim)) for dim in kind.shape))
            found[name] = (
                rng.normal(0, 1, shape).astype(np.float32) if kind.dtype == "float32" else np.zeros(shape, kind.dtype)
            )
        return found
    given = xs if isinstance(xs, dict) else {next(iter(kinds)): xs}
    rows = {name: np.asarray(array) for name, array in given.items()}
    count = len(next(iter(rows.values())))
    if count < 4:
        raise InputError(f"horizon: expected at least 4 readings, got {count}")
    start = int(rng.integers(0, count // 4 + 1))
    return {name: array[start : start + longest] for name, array in rows.items()}


def _turned(array: Array, rng: np.random.Generator) -> Array:
    """Other readings of the same kind: from another moment on, and backwards."""
    return np.roll(array, int(rng.integers(1, max(2, len(array)))), axis=0)[::-1].copy()
