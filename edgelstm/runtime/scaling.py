"""Preprocessing that travels with a model: scaling in the model's units' stead, names and units of features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError
from edgelstm.graph.dims import symbols
from edgelstm.graph.ir import TensorType
from edgelstm.passes.scale import Scaling, scale_graph
from edgelstm.runtime.model import Model

KEY = "preprocessing"  # metadata: all that `with_scaling` was told, by name
LISTS = ("features", "units")  # metadata, too: lists of texts, one for each number of a reading
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)

Names = Sequence[str] | Mapping[str, Sequence[str]]


def with_scaling(
    model: Model,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    features: Names | None = None,
    units: Names | None = None,
    fold: bool = True,
) -> Model:
    """The model that takes readings as sensors give them, and predicts in the same units.

    The network was trained on (x - mean) / scale, and its output y stands for y * scale + mean. Both become part of the
    model, in its first and last weights where that is exact enough (see `passes.scale.FOLD_LIMIT`), else as nodes.
    scikit-learn's StandardScaler has them as `mean_` and `scale_`; a MinMaxScaler's are -min_ / scale_ and 1 / scale_.

    Args:
        model: is left as it is.
        inputs: input name → (mean, scale), or a dict of the two: numbers, one a feature, or arrays that broadcast to
            the input's shape.
        outputs: output name → the same.
        features: names of an input's features, one for each entry of its last axis; a dict by input or output name
            where there are several. Metadata only.
        units: likewise their units.
        fold: False keeps scaling in nodes of its own, bit for bit what scaling by hand in float32 gives. Do that
            before a model is quantized: raw readings of unlike size in one int8 vector lose the small ones.

    Returns:
        A new model; `json.loads(model.metadata["preprocessing"])` has all of the above.

    Raises:
        InputError: a name, shape, number or name of a feature does not fit, or an input or output is scaled already.
    """
    told = _told(model)
    before: dict[str, dict[str, Any]] = {what: told.get(what, {}) for what in ("inputs", "outputs")}
    found = {"inputs": _scalings(inputs or {}, "input"), "outputs": _scalings(outputs or {}, "output")}
    for what, scalings in found.items():
        if twice := set(scalings) & set(before[what]):
            raise InputError(f"scaling: {what[:-1]} {min(twice)!r} has been scaled before; scale the model as it was")
        before[what] = before[what] | {
            name: {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()} for name, scaling in scalings.items()
        }
    kinds = {**model.inputs, **model.outputs}
    carried = {state.input for state in model.graph.states}
    readings = [name for name, kind in model.inputs.items() if name not in carried]
    for what, names in zip(LISTS, (features, units), strict=True):
        before[what] = told.get(what, {}) | _lists(names, what, kinds, readings)
    graph = scale_graph(model.graph, found["inputs"], found["outputs"], fold)
    metadata = dict(model.metadata)
    if kept := {what: values for what, values in before.items() if values}:
        metadata[KEY] = json.dumps(kept, ensure_ascii=False)
    for what in LISTS:
        if readings and all(name in before[what] and _is_flat(model.inputs[name]) for name in readings):
            metadata[what] = json.dumps([text for name in readings for text in before[what][name]], ensure_ascii=False)
    return Model(replace(graph, metadata=metadata))


def _is_flat(kind: TensorType) -> bool:
    """Whether a reading has no axis but that of its features."""
    return len([dim for dim in kind.shape if not symbols(dim)]) <= 1


def _told(model: Model) -> dict[str, Any]:
    """What the metadata has of an earlier call."""
    try:
        told = json.loads(model.metadata.get(KEY, "{}"))
    except ValueError:
        told = None
    if not isinstance(told, dict) or not all(isinstance(value, dict) for value in told.values()):
        raise InputError(f"the model's metadata has {KEY!r} that is not of this library; remove it first")
    return told


def _scalings(given: Mapping[str, Any], what: str) -> dict[str, Scaling]:
    return {name: _scaling(value, f"scaling of {what} {name!r}") for name, value in given.items()}


def _scaling(value: Any, where: str) -> Scaling:
    if isinstance(value, Mapping):
        if set(value) != {"mean", "scale"}:
            raise InputError(f"{where}: expected mean and scale, got {', '.join(map(str, value)) or 'nothing'}")
        value = value["mean"], value["scale"]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise InputError(f"{where}: expected (mean, scale), got {value!r}")
    mean, scale = (_numbers(part, where) for part in value)
    if (np.abs(scale) < SMALLEST).any():
        raise InputError(f"{where}: a scale of 0 or next to it; give a feature that never changes the scale 1")
    return Scaling(mean, scale)


def _numbers(value: Any, where: str) -> npt.NDArray[np.float64]:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{where}: expected numbers, got {value!r} ({error})") from None
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or (np.abs(array) > LARGEST).any():
        raise InputError(f"{where}: expected finite float32 numbers, got {value!r}")
    return array.astype(np.float64)


def _lists(
    names: Names | None, what: str, kinds: Mapping[str, TensorType], readings: Sequence[str]
) -> dict[str, list[str]]:
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        if len(readings) != 1:
            raise InputError(f"{what}: the model has the inputs {', '.join(readings)}; give a dict by name")
        names = {readings[0]: names}
    found = {}
    for name, texts in names.items():
        if name not in kinds:
            raise InputError(f"{what}: there is no input or output {name!r}; there are {', '.join(kinds)}")
        if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{what} of {name!r}: expected a list of texts, got {texts!r}")
        size = kinds[name].shape[-1] if kinds[name].shape and not symbols(kinds[name].shape[-1]) else 1
        if len(texts) != size:
            raise InputError(f"{what} of {name!r}: expected {size}, as {kinds[name]} has, got {len(texts)}")
        if what == "features" and len(set(texts)) < len(texts):
            raise InputError(f"features of {name!r}: each name once, got {list(texts)}")
        found[name] = list(texts)
    return found
