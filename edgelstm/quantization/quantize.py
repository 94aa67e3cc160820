"""Decide which matrices of a model go to int8, within a tolerance, and say why."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array, Graph
from edgelstm.graph.stored import channel_axes
from edgelstm.quantization.calibrate import METHODS, input_scale
from edgelstm.quantization.cost import Costs, costs_of
from edgelstm.quantization.limits import (
    Error,
    Output,
    allowances,
    check_tolerance,
    difference,
    differences,
    excess,
    limited,
)
from edgelstm.quantization.report import FLOAT, INT8, WEIGHTS, Entry, Report
from edgelstm.quantization.rounding import round_blind, round_to
from edgelstm.quantization.samples import Samples, read_samples
from edgelstm.quantization.scheme import TABLE, Matrix, apply, halve, matrices, quantize_weights, weight_constants
from edgelstm.runtime.model import Model

OBJECTIVES = ("speed", "size")
ACTIVATIONS = ("dynamic", "calibrated")
RECURRENT = ("rnn", "gru", "lstm")
WORTH = 0.8  # float activations must lower a matrix's error at least so far
TIMED_STEPS = 200


class Quantized(NamedTuple):
    """What `quantize_reported` gives."""

    model: Model
    report: Report


class _Alone(NamedTuple):
    """What a matrix does alone: the error (None without data), and how much of the allowance it uses."""

    error: Error | None
    share: float


@dataclass(slots=True)
class _Search:
    """A model, the data that it is judged by, and what is known of its matrices."""

    graph: Graph
    samples: Samples | None
    expected: Mapping[str, Array]
    allowed: Mapping[str, Error]
    scales: Mapping[int, tuple[float, int]]
    rounded: Mapping[str, Array]

    def build(self, kept: Mapping[Matrix, str]) -> Graph:
        """The graph with every matrix as it is to be kept."""
        computed = [one for one, kind in kept.items() if kind == INT8]
        stored = [one for one, kind in kept.items() if kind == WEIGHTS]
        return apply(self.graph, computed, stored, self.scales, self.rounded)

    def look(self, kept: Mapping[Matrix, str]) -> _Alone:
        """What these matrices alone do."""
        if self.samples is None:
            return _Alone(None, 0.0)
        outputs = self.samples.outputs(self.build(kept))
        share = excess(differences(self.expected, outputs), self.allowed)
        return _Alone(difference(self.expected, outputs), share)

    def excess(self, kept: Mapping[Matrix, str]) -> float:
        """How many times the allowance is used; 0 without data."""
        return 0.0 if not any(limited(limit) for limit in self.allowed.values()) else self.look(kept).share


def quantize(
    model: Model,
    calibration: Any = None,
    objective: str = "speed",
    target: str = "native",
    tolerance: float | None = None,
    activations: str = "dynamic",
    **more: Any,
) -> Model:
    """A model with weights on int8, and activations on 8 bits where that serves.

    Args:
        model: a float model; it is not changed.
        calibration: readings as the model will see them, (T, features) in time order, by name where the model has
            several inputs; or whole sequences as `predict` takes them. None: errors are not known, and only recurrent
            layers and embeddings are quantized.
        objective: "speed": on int8 what the cost table says is faster there; "size": all that the tolerance allows.
        target: whose costs count: "native", or a name of the table, such as "pi4".
        tolerance: the largest difference from the float model that any float output may show on the calibration
            data; None: for each output 5 % of its range there, and 0.25 % root mean square. `math.inf`: whatever it
            is, also without data.
        activations: "dynamic": scales from each reading; "calibrated": fixed scales for inputs of layers.
        more: see `quantize_reported`.

    Returns:
        The quantized model. The same arguments give the same model, bit for bit.

    Raises:
        InputError: calibration data or an option does not fit; names it.
    """
    return quantize_reported(model, calibration, objective, target, tolerance, activations, **more).model


def quantize_reported(
    model: Model,
    calibration: Any = None,
    objective: str = "speed",
    target: str = "native",
    tolerance: float | None = None,
    activations: str = "dynamic",
    *,
    method: str = "minmax",
    weights_only: bool = False,
    float16: bool = False,
    keep: Collection[str] = (),
    measure: bool = False,
    sizes: Mapping[str, int] | None = None,
) -> Quantized:
    """As `quantize`, with the report.

    Args:
        model: see `quantize`, as for the next five.
        calibration: readings, or None.
        objective: "speed" or "size".
        target: "native" or a name of the cost table.
        tolerance: the largest difference allowed, `math.inf` or None.
        activations: "dynamic" or "calibrated".
        method: how calibrated scales are chosen: "minmax", "percentile" or "mse".
        weights_only: activations stay float; for models that int8 activations hurt.
        float16: store the weights that stay float as float16 (widened when loaded).
        keep: matrices to leave in float, by the names that the report gives.
        sizes: sizes of free dimensions other than time and batch, as for `Model.stream`.
        measure: also time a step with each matrix alone on int8; does not change what is chosen.

    Raises:
        InputError: see `quantize`.
    """
    for name, value, allowed in (
        ("objective", objective, OBJECTIVES),
        ("activations", activations, ACTIVATIONS),
        ("method", method, METHODS),
    ):
        if value not in allowed:
            raise InputError(f"{name}: expected {' or '.join(allowed)}, got {value!r}")
    if activations == "calibrated" and calibration is None:
        raise InputError("activations='calibrated' needs calibration data: give readings as the model will see them")
    check_tolerance(tolerance, calibration is not None)
    found, costs = matrices(model.graph), costs_of(target)
    if unknown := set(keep) - {one.label for one in found}:
        raise InputError(f"keep: {min(unknown)!r} is no matrix; the model has {', '.join(one.label for one in found)}")
    samples = None if calibration is None else read_samples(model, calibration, sizes)
    expected = samples.outputs(model.graph) if samples else {}
    scales = _fixed_scales(model.graph, found, samples, method) if activations == "calibrated" and samples else {}
    rounded = _rounded(model.graph, found, samples)
    search = _Search(model.graph, samples, expected, allowances(expected, tolerance), scales, rounded)
    blind = samples is None and tolerance is None
    kept, reasons = _first_choice(found, objective, costs, weights_only, keep, blind)
    alone = {one: search.look({one: kind}) for one, kind in kept.items() if kind != FLOAT}
    _fit(search, kept, reasons, alone, objective)
    graph = search.build(kept)
    if float16:
        graph = halve(graph, sorted(weight_constants(graph)))
    times = _measure(search, found) if measure else {}
    entries = tuple(_entry(one, kept[one], reasons.get(one, ""), costs, alone.get(one), times, graph) for one in found)
    outputs = samples.outputs(graph) if samples else {}
    errors = differences(expected, outputs)
    report = Report(
        entries,
        costs.name,
        costs.source,
        objective,
        tolerance,
        difference(expected, outputs) if samples else None,
        tuple(Output(name, error, search.allowed[name]) for name, error in errors.items()),
        _bytes(model.graph),
        _bytes(graph),
    )
    return Quantized(Model(graph), report)


def _fixed_scales(graph: Graph, found: list[Matrix], samples: Samples, method: str) -> dict[int, tuple[float, int]]:
    """Node index → scale and zero point of its inputs."""
    nodes = sorted({one.node for one in found if one.role == "x" and not one.barred})
    rows = samples.inputs_of(graph, nodes)
    return {node: input_scale(rows[node], method) for node in nodes}


def _rounded(graph: Graph, found: list[Matrix], samples: Samples | None) -> dict[str, Array]:
    """The integers of matrices whose activations are known somewhat, see `rounding.py`; not of those used twice."""
    names = [one.constant for one in found]
    roles = ("x", "h") if samples else ("x",)
    single = [one for one in found if names.count(one.constant) == 1 and one.op != "conv" and one.role in roles]
    inputs: dict[int, Array] = {}
    states: dict[int, list[Array]] = {}
    if samples:
        inputs = samples.inputs_of(graph, sorted({one.node for one in single if one.role == "x"}))
        states = samples.states_of(graph, sorted({one.node for one in single if one.role == "h"}))
    rounded = {}
    for one in single:
        w = graph.constants[one.constant]
        _, scale = quantize_weights(w, channel_axes(one.op))
        parts = list(zip(w.reshape(-1, *w.shape[-2:]), scale.reshape(-1, w.shape[-2], 1), strict=True))
        if samples is None:
            found_parts = [round_blind(*part) for part in parts]
        else:
            rows = states[one.node] if one.role == "h" else [inputs[one.node]] * len(parts)
            found_parts = [round_to(*part, seen) for part, seen in zip(parts, rows, strict=True)]
        integers = np.stack(found_parts).reshape(w.shape)
        integers.flags.writeable = False
        rounded[one.constant] = integers
    return rounded


def _first_choice(
    found: list[Matrix], objective: str, costs: Costs, weights_only: bool, keep: Collection[str], blind: bool
) -> tuple[dict[Matrix, str], dict[Matrix, str]]:
    """What each matrix would be kept as, errors apart, and why it is not on int8."""
    kept: dict[Matrix, str] = {}
    why: dict[Matrix, str] = {}
    for one in found:
        kept[one] = INT8
        if one.label in keep:
            kept[one], why[one] = FLOAT, "asked to be kept"
        elif blind and one.op not in RECURRENT and one.role != TABLE:
            kept[one], why[one] = (
                FLOAT,
                "its error is not known without calibration data",
            )
        elif one.role == TABLE:
            small = one.barred == "a table has no product"
            kept[one] = WEIGHTS if small else FLOAT
            why[one] = "a table has no product" if small else one.barred
        elif one.barred or weights_only:
            why[one] = one.barred or "weights only, as asked"
            kept[one] = WEIGHTS if objective == "size" or not one.barred else FLOAT
        elif objective == "speed" and costs.in_int8(one) >= costs.in_float(one):
            kept[one], why[one] = FLOAT, "float is as fast"
        # Depthwise and grouped weights are widened as a whole: smaller in the file, not in memory.
    return kept, why


def _fit(
    search: _Search, kept: dict[Matrix, str], why: dict[Matrix, str], alone: Mapping[Matrix, _Alone], objective: str
) -> None:
    """Take matrices back until the error is within what is allowed; changes `kept` and `why`.

    First those that err most for their size; what turns out to fit in the end is given back, last taken first.
    """
    taken: list[tuple[Matrix, str, str]] = []
    seen = dict(alone)
    while search.excess(kept) > 1:
        left = [one for one, kind in kept.items() if kind != FLOAT]
        if not left:
            return
        worst = max(left, key=lambda one: seen[one].share ** 2 / one.size)
        taken.append((worst, kept[worst], why.get(worst, "")))
        kind, was = FLOAT, seen[worst].share
        if objective == "size" and kept[worst] == INT8:
            softer = search.look({worst: WEIGHTS})
            if softer.share < WORTH * was:
                kind, seen[worst] = WEIGHTS, softer
        kept[worst] = kind
        why[worst] = (
            f"{'its 8-bit activations alone take' if kind == WEIGHTS else 'alone takes'} {was:.0%} of the error allowed"
        )
    for one, kind, reason in reversed(taken):
        if search.excess({**kept, one: kind}) <= 1:
            kept[one], why[one] = kind, reason


def _entry(
    one: Matrix,
    kind: str,
    why: str,
    costs: Costs,
    alone: _Alone | None,
    times: Mapping[Matrix | None, float],
    graph: Graph,
) -> Entry:
    product = one.role != TABLE
    after = graph.constants[one.constant].nbytes
    if one.constant in graph.scales:
        after += graph.scales[one.constant].nbytes
    return Entry(
        one.label,
        one.op,
        one.shape,
        kind,
        why,
        4 * one.size,
        after,
        costs.in_float(one) if product else None,
        costs.in_int8(one) if product else None,
        times.get(None) if one in times else None,
        times.get(one),
        None if alone is None else alone.error,
    )


def _measure(search: _Search, found: list[Matrix]) -> dict[Matrix | None, float]:
    """Nanoseconds of a run over the samples, per reading: all in float (None), and with one matrix on int8."""
    if search.samples is None or not search.samples.streamed:
        return {}
    feeds = {name: array[:TIMED_STEPS] for name, array in search.samples.feeds.items()}
    times: dict[Matrix | None, float] = {}
    for one in (None, *(one for one in found if one.role != TABLE and not one.barred)):
        stream = Model(search.build({} if one is None else {one: INT8})).stream(sizes=search.samples.sizes)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            stream.run(dict(feeds))
            best = min(best, time.perf_counter() - start)
        times[one] = 1e9 * best / len(next(iter(feeds.values())))
    return times


def _bytes(graph: Graph) -> int:
    return sum(array.nbytes for array in (*graph.constants.values(), *graph.scales.values()))
