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
from edgelstm.quantization.report import FLOAT, INT8, WEIGHTS, Entry, Error, Report
from edgelstm.quantization.rounding import round_to
from edgelstm.quantization.samples import Samples, read_samples
from edgelstm.quantization.scheme import TABLE, Matrix, apply, halve, matrices, quantize_weights, weight_constants
from edgelstm.runtime.model import Model

OBJECTIVES = ("speed", "size")
ACTIVATIONS = ("dynamic", "calibrated")
DEFAULT_TOLERANCE = 0.05  # of the range of an output
TIMED_STEPS = 200


class Quantized(NamedTuple):
    """What `quantize_reported` gives."""

    model: Model
    report: Report


@dataclass(slots=True)
class _Search:
    """A model, the data that it is judged by, and what is known of its matrices."""

    graph: Graph
    samples: Samples | None
    expected: Mapping[str, Array]
    scales: Mapping[int, tuple[float, int]]
    rounded: Mapping[str, Array]

    def build(self, kept: Mapping[Matrix, str]) -> Graph:
        """The graph with every matrix as it is to be kept."""
        computed = [one for one, kind in kept.items() if kind == INT8]
        stored = [one for one, kind in kept.items() if kind == WEIGHTS]
        return apply(self.graph, computed, stored, self.scales, self.rounded)

    def error(self, kept: Mapping[Matrix, str]) -> Error | None:
        """The difference from the float model; None without data."""
        if self.samples is None:
            return None
        return difference(self.expected, self.samples.outputs(self.build(kept)))


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
            several inputs; or whole sequences as `predict` takes them. None: errors are not looked at.
        objective: "speed": on int8 what the cost table says is faster there; "size": all that the tolerance allows.
        target: whose costs count: "native", or a name of the table, such as "pi4".
        tolerance: the largest difference from the float model that any float output may show on the calibration
            data; None: 5 % of the range of all outputs there.
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
        tolerance: the largest difference allowed, or None.
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
    if tolerance is not None and (calibration is None or not 0 <= tolerance < np.inf):
        why = "it needs calibration data" if calibration is None else "expected a number from 0 on"
        raise InputError(f"tolerance is {tolerance}: {why}")
    found, costs = matrices(model.graph), costs_of(target)
    if unknown := set(keep) - {one.label for one in found}:
        raise InputError(f"keep: {min(unknown)!r} is no matrix; the model has {', '.join(one.label for one in found)}")
    samples = None if calibration is None else read_samples(model, calibration, sizes)
    expected = samples.outputs(model.graph) if samples else {}
    if tolerance is None and samples:
        tolerance = DEFAULT_TOLERANCE * _range(expected)
    scales: dict[int, tuple[float, int]] = {}
    if activations == "calibrated" and samples:
        nodes = sorted({one.node for one in found if one.role == "x" and not one.barred})
        rows = samples.inputs_of(model.graph, nodes)
        scales = {node: input_scale(rows[node], method) for node in nodes}
    rounded = {} if samples is None else _rounded(model.graph, found, samples)
    search = _Search(model.graph, samples, expected, scales, rounded)
    kept, reasons = _first_choice(found, objective, costs, weights_only, keep)
    alone = {one: search.error({one: kind}) for one, kind in kept.items() if kind != FLOAT}
    error = _fit(search, kept, reasons, alone, tolerance, objective)
    graph = search.build(kept)
    if float16:
        graph = halve(graph, sorted(weight_constants(graph)))
    times = _measure(search, found) if measure else {}
    entries = tuple(_entry(one, kept[one], reasons.get(one, ""), costs, alone.get(one), times, graph) for one in found)
    report = Report(
        entries,
        costs.name,
        costs.source,
        objective,
        tolerance,
        error if not float16 or samples is None else difference(expected, samples.outputs(graph)),
        _bytes(model.graph),
        _bytes(graph),
    )
    return Quantized(Model(graph), report)


def _rounded(graph: Graph, found: list[Matrix], samples: Samples) -> dict[str, Array]:
    """The integers of every matrix whose inputs the data show, see `rounding.py`; those used twice are left out."""
    names = [one.constant for one in found]
    single = [one for one in found if names.count(one.constant) == 1 and one.op != "conv" and one.role in ("x", "h")]
    inputs = samples.inputs_of(graph, sorted({one.node for one in single if one.role == "x"}))
    states = samples.states_of(graph, sorted({one.node for one in single if one.role == "h"}))
    rounded = {}
    for one in single:
        w = graph.constants[one.constant]
        _, scale = quantize_weights(w, channel_axes(one.op))
        if channel_axes(one.op) == 1:
            integers = round_to(w, scale, inputs[one.node])
        else:
            rows = [inputs[one.node]] * len(w) if one.role == "x" else states[one.node]
            integers = np.stack([round_to(w[d], scale[d], rows[d]) for d in range(len(w))])
        integers.flags.writeable = False
        rounded[one.constant] = integers
    return rounded


def difference(expected: Mapping[str, Array], got: Mapping[str, Array]) -> Error:
    """The largest and the root-mean-square difference over all float outputs."""
    parts = [
        (got[name].astype(np.float64) - value.astype(np.float64)).ravel()
        for name, value in expected.items()
        if value.dtype == np.float32 and value.size
    ]
    if not parts:
        return Error(0.0, 0.0)
    far = np.concatenate(parts)
    if not np.isfinite(far).all():
        return Error(float("inf"), float("inf"))
    return Error(float(np.abs(far).max()), float(np.sqrt(np.mean(far**2))))


def _range(outputs: Mapping[str, Array]) -> float:
    spans = [float(value.max() - value.min()) for value in outputs.values() if value.dtype == np.float32 and value.size]
    return max(spans, default=0.0)


def _first_choice(
    found: list[Matrix], objective: str, costs: Costs, weights_only: bool, keep: Collection[str]
) -> tuple[dict[Matrix, str], dict[Matrix, str]]:
    """What each matrix would be kept as, errors apart, and why it is not on int8."""
    kept: dict[Matrix, str] = {}
    why: dict[Matrix, str] = {}
    for one in found:
        kept[one] = INT8
        if one.label in keep:
            kept[one], why[one] = FLOAT, "asked to be kept"
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
    search: _Search,
    kept: dict[Matrix, str],
    why: dict[Matrix, str],
    alone: Mapping[Matrix, Error | None],
    tolerance: float | None,
    objective: str,
) -> Error | None:
    """Take back, the worst first, until the error is within the tolerance; changes `kept` and `why`."""
    error = search.error(kept)
    if error is None or tolerance is None:
        return error
    while error.max > tolerance:
        left = [one for one, kind in kept.items() if kind != FLOAT]
        if not left:
            break
        worst = max(left, key=lambda one: _size_of(alone[one]))
        softer = objective == "size" and kept[worst] == INT8
        kept[worst] = WEIGHTS if softer else FLOAT
        why[worst] = f"int8 activations go past the tolerance of {tolerance:.3g}" if softer else f"past {tolerance:.3g}"
        if softer:
            alone = {**alone, worst: search.error({worst: WEIGHTS})}
        error = search.error(kept)
        assert error is not None
    return error


def _size_of(error: Error | None) -> float:
    return 0.0 if error is None else error.max


def _entry(
    one: Matrix,
    kind: str,
    why: str,
    costs: Costs,
    alone: Error | None,
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
        alone,
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
