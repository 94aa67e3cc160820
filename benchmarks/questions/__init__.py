"""One file for each question, each with the same few names (see `Question`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from benchmarks.bounds import limits
from benchmarks.layers import Layer
from benchmarks.measure import interleaved
from benchmarks.results import Row
from benchmarks.runtimes import Call, Unavailable, runtime

NAMES = (
    *("steps", "int8", "runs", "batches", "pools", "threads", "models"),
    *("tick", "tail", "overhead", "start", "memory", "size", "allocations"),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: interleaved rounds, and seconds that each repeats a call."""

    rounds: int = 21
    seconds: float = 0.02
    quick: bool = False


QUICK = Effort(3, 0.001, quick=True)


@dataclass(frozen=True, slots=True)
class Case:
    """What one row or several belong to; `value` is the question's own."""

    group: str
    label: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.group} {self.label}".strip()


class Question(Protocol):
    """What every file of this package offers."""

    TITLE: str
    UNIT: str
    MORE_IS_BETTER: bool
    THREADS: int  # processors that the process may use
    ALTERNATE: bool  # one process for each engine, in turn

    def cases(self, *, quick: bool) -> list[Case]:
        """What is measured."""

    def measure(self, case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
        """Every engine's figures."""


def question(name: str) -> Question:
    """A question by the name of its file."""
    return cast("Question", import_module(f"benchmarks.questions.{name}"))


def compare(
    row: Row,
    engines: Sequence[str],
    make: Callable[[str], Call],
    effort: Effort,
    *,
    scale: float = 1.0,
    same: float | None = None,
) -> Row:
    """Time one call of every engine, in turns.

    Args:
        row: gets the figures, and the reasons where there are none.
        engines: names of `runtimes`.
        make: an engine's name → its call; raises Unavailable.
        effort: how long.
        scale: what microseconds a call are multiplied with.
        same: refuse an engine whose third answer is further than this from the first engine's.
    """
    calls: dict[str, Call] = {}
    answers: dict[str, np.ndarray] = {}
    for name in engines:
        with unavailable(row, name):
            calls[name] = make(name)
            if same is not None:
                answers[name] = [_first(calls[name]()) for _ in range(3)][-1].ravel()
    for name, answer in answers.items():
        apart = float(np.abs(answer - next(iter(answers.values()))).max())
        if not apart <= cast("float", same):
            del calls[name]
            row.missing[name] = f"gives other results, {apart:.1e} apart"
    if calls:
        timings = interleaved(calls, effort.rounds, effort.seconds)
        row.figures |= {name: timing.scaled(scale) for name, timing in timings.items()}
    return row


def _first(answer: Any) -> np.ndarray:
    """A copy of the first output."""
    return np.array(next(iter(answer.values())) if isinstance(answer, dict) else answer)


@contextmanager
def unavailable(row: Row, name: str) -> Iterator[None]:
    """Notes in a row why an engine has no figure."""
    try:
        yield
    except Unavailable as reason:
        row.missing[name] = str(reason)


def layer_call(layer: Layer, length: int = 1, rows: int = 1, threads: int = 1) -> Callable[[str], Call]:
    """`make` of `compare` for a layer."""
    return lambda name: runtime(name).layer(layer, length, rows, threads)


def bound_of(layer: Layer) -> float:
    """Microseconds that a step takes at least; see `bounds`."""
    return limits().step(layer.products, 1 if layer.int8 else 4).microseconds


def tolerance(layer: Layer) -> float:
    """How far engines may be apart on the same layer: rounding in float32; int8 schemes differ by design."""
    return 0.05 if layer.int8 else 1e-4


def ratio(question: Question, figures: Mapping[str, float], ours: str, theirs: str) -> float:
    """How many times better `ours` is."""
    better = figures[ours] / figures[theirs]
    return better if question.MORE_IS_BETTER else 1 / better
