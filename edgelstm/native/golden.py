"""Golden vectors: readings and what this machine predicts from them, as words in the order of the C functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array
from edgelstm.passes.stream import StepGraph
from edgelstm.program.executor import Executor, ReferenceExecutor
from edgelstm.program.program import Program
from edgelstm.program.status import OK
from edgelstm.runtime.executors import make_executor

STEPS = 64
TOLERANCE = 1e-5  # of machines without FMA, whose last bits differ
MARGIN = 4
NUDGES = 16
NUDGE = 1e-5  # of a reading: more than last bits, so that some rounding goes the other way; itself within TOLERANCE


@dataclass(frozen=True, slots=True)
class Golden:
    """What a folder's golden.bin holds.

    Attributes:
        data: for every step the words of the reading and, where there is one, of the prediction.
        steps: how many readings.
        predictions: the numbers of all predictions, float64.
    """

    data: bytes
    steps: int
    predictions: Array


def inexact(program: Program, step: StepGraph) -> float:
    """By how much, relative to 1 + |expected|, predictions may differ where last bits do.

    With int8 products a last bit can decide to which integer an activation is rounded, and what follows differs by far
    more. Which of them a device meets cannot be told here. So: what readings differ by that are nudged a little, and
    through the reference's arithmetic, with a margin.
    """
    others = [make(program, ReferenceExecutor(program), step)]
    if any(node.attrs.get("int8") for node in program.graph.nodes):
        others += [make(program, make_executor(program), step, nudged=seed) for seed in range(1, NUDGES + 1)]
    return tolerance(make(program, make_executor(program), step), others)


def tolerance(golden: Golden, others: Sequence[Golden]) -> float:
    """The largest relative difference to any of the others, with a margin; TOLERANCE at least."""
    apart = [np.abs(golden.predictions - one.predictions) / (1 + np.abs(one.predictions)) for one in others]
    return max(TOLERANCE, MARGIN * float(np.max(apart, initial=0.0)))


def rhythm(program: Program, step: StepGraph) -> tuple[int, int]:
    """At which readings there is a prediction: every `stride`th from `first` on.

    Raises:
        InputError: outputs differ in that.
    """
    if not program.graph.tick:
        return 1, 0
    found = {step.firings.get(port.name, (1, 0)) for port in program.outputs}
    if len(found) > 1:
        raise InputError(f"the outputs come at different readings ({found}): build a model with one of them")
    stride, first = found.pop()
    return stride, first


def make(program: Program, executor: Executor, step: StepGraph, nudged: int = 0) -> Golden:
    """Draw readings (normal numbers; 0 where integers are asked for) and run them.

    Args:
        program: a step.
        executor: of the program, at its start.
        step: what the program was lowered from.
        nudged: the seed by which readings are moved by about NUDGE of their size; 0: they are not.

    Raises:
        InputError: the model refuses such readings.
    """
    rng, words, predictions = np.random.default_rng(20240229), [], [np.zeros(0)]
    nudges = np.random.default_rng(nudged)
    stride, first = rhythm(program, step)
    arenas = executor.arenas
    for index in range(STEPS):
        for port in program.inputs:
            values = rng.standard_normal(port.words) if port.dtype == "float32" else np.zeros(port.words)
            if nudged:
                values *= 1 + NUDGE * nudges.standard_normal(port.words)
            arenas.inputs[port.name].reshape(-1)[:] = values
            words.append(_words(arenas.inputs[port.name]))
        status = executor.execute(True)
        if status != OK:
            raise InputError(f"golden reading {index}: the program answered {status}")
        if index >= first and (index - first) % stride == 0:
            outputs = [arenas.outputs[port.name] for port in program.outputs]
            words.extend(map(_words, outputs))
            predictions.extend(output.astype(np.float64).reshape(-1) for output in outputs)
    return Golden(b"".join(words), STEPS, np.concatenate(predictions))


def _words(view: Array) -> bytes:
    return np.ascontiguousarray(view).view(np.int32).astype("<i4").tobytes()
