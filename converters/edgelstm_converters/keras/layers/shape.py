"""Layers that move or join values.

Flatten, Reshape, Permute, RepeatVector, ZeroPadding1D, Cropping1D, Concatenate, and sums and products of inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelstm.errors import FormatError, InputError
from edgelstm.graph.dims import Dim, exact_div, product
from edgelstm_converters.keras.builder import Flow, KerasBuilder, NeedsLengthError
from edgelstm_converters.keras.config import MAX_WINDOW, Layer


def need_rank(layer: Layer, flow: Flow, ranks: Sequence[int], to: KerasBuilder) -> None:
    """Refuses an input with another number of axes, or token ids.

    Raises:
        FormatError: names the layer and the shape.
    """
    shape = to.shape(flow)
    if len(shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise FormatError(f"{layer.where}: expected an input of {wanted} axes, got {show(shape)}")
    need_features(layer, flow, to)


def need_features(layer: Layer, flow: Flow, to: KerasBuilder) -> None:
    """Refuses token ids where numbers are expected."""
    to.enter(flow)
    if to.tokens:
        raise FormatError(f"{layer.where}: expected features, but its input is token ids, which an Embedding takes")


def fixed(layer: Layer, dims: Sequence[Dim], what: str) -> tuple[int, ...]:
    """Dimensions that must be numbers.

    Raises:
        NeedsLengthError: one is symbolic.
    """
    found = tuple(dim for dim in dims if isinstance(dim, int))
    if len(found) != len(dims):
        raise NeedsLengthError(f"{layer.where}: {what} needs a fixed length")
    return found


def show(shape: Sequence[Dim]) -> str:
    """A shape as people write it."""
    return f"({', '.join(map(str, shape))})"


def axis_of(layer: Layer, axis: int, rank: int) -> int:
    """`axis` counted from the front; the batch axis is refused."""
    if not -rank <= axis < rank or axis % rank == 0:
        raise FormatError(f"{layer.where}: axis: expected one of {rank} axes other than the batch's, got {axis}")
    return axis % rank


def _flatten(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    layer.only("data_format", "channels_last", "use channels_last")
    to.enter(inputs[0], False)
    batch, *rest = to.type.shape
    to.then("reshape", layer.name, shape=(batch, product(fixed(layer, rest, "flattening"))))
    return [to.leave()]


def _reshape(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    target = layer.integers("target_shape", least=-1)
    to.enter(inputs[0], False)
    batch, *rest = to.type.shape
    known = product(size for size in target if size != -1)
    total = product(rest)
    if target.count(-1) > 1 or not all(size > 0 for size in target if size != -1):
        raise layer.damaged("target_shape", "positive sizes, at most one of them -1", target)
    free = exact_div(total, known)
    if free is None or (target.count(-1) == 0 and free != 1):
        if not isinstance(total, int):
            raise NeedsLengthError(f"{layer.where}: target_shape {target} needs a fixed length")
        raise FormatError(f"{layer.where}: target_shape: {show(rest)} does not become {target}")
    to.then("reshape", layer.name, shape=(batch, *(free if size == -1 else size for size in target)))
    return [to.leave()]


def _permute(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    dims = layer.integers("dims")
    to.enter(inputs[0], False)
    if sorted(dims) != list(range(1, to.type.rank)):
        raise layer.damaged("dims", f"an order of 1 to {to.type.rank - 1}", dims)
    to.then("transpose", layer.name, perm=(0, *dims))
    return [to.leave()]


def _repeat(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    count = layer.integer("n", most=MAX_WINDOW)
    need_rank(layer, inputs[0], (2,), to)
    batch, width = to.type.shape
    to.then("reshape", layer.name, shape=(batch, 1, width))
    to.then("broadcast", layer.name, shape=(batch, count, width))
    return [to.leave()]


def _pad(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    layer.only("data_format", "channels_last", "use channels_last")
    before, after = _both_ends(layer, "padding")
    need_rank(layer, inputs[0], (3,), to)
    to.enter(inputs[0], False)
    to.then("pad", layer.name, pads=(0, before, 0, 0, after, 0), mode="constant", value=0.0)
    return [to.leave()]


def _crop(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    before, after = _both_ends(layer, "cropping")
    need_rank(layer, inputs[0], (3,), to)
    to.enter(inputs[0], False)
    length = to.type.shape[1]
    to.then("slice", layer.name, axes=(1,), starts=(before,), stops=(length - after,), steps=(1,))
    return [to.leave()]


def _both_ends(layer: Layer, key: str) -> tuple[int, int]:
    found = layer.integers(key, least=0)
    if len(found) not in (1, 2) or max(found) > MAX_WINDOW:
        raise layer.damaged(key, "one number, or one for each end", found)
    return found[0], found[-1]


def _concatenate(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    values, time_major = _alike(layer, inputs, to)
    rank = to.type.rank
    axis = axis_of(layer, layer.integer("axis", -1, least=-8, most=8), rank)
    if time_major:
        axis = {1: 0}.get(axis, axis)
    (to.value,) = to.node("concat", values, layer.name, 1, {"axis": axis})
    to.time_major = time_major
    return [to.leave()]


def _alike(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> tuple[list[str], bool]:
    """The names of several values in one order of axes."""
    if len(inputs) < 2:
        raise FormatError(f"{layer.where}: expected at least 2 inputs, got {len(inputs)}")
    time_major = all(flow.time_major for flow in inputs)
    values = []
    for flow in inputs:
        need_features(layer, flow, to)
        to.enter(flow, time_major)
        values.append(to.value)
    return values, time_major


def _folded(op: str, mean: bool = False) -> Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]:
    def handler(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
        ranks = {len(to.shape(flow)) for flow in inputs}
        if len(ranks) != 1:
            raise FormatError(f"{layer.where}: expected inputs with one number of axes, got {sorted(ranks)}")
        values, time_major = _alike(layer, inputs, to)
        if op == "sub" and len(values) != 2:
            raise FormatError(f"{layer.where}: expected 2 inputs, got {len(values)}")
        to.value, to.time_major = values[0], time_major
        for value in values[1:]:
            to.then(op, layer.name, value)
        if mean:
            to.then("affine", layer.name, alpha=1.0 / len(values), beta=0.0)
        return [to.leave()]

    return handler


def explained(
    handler: Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]],
) -> Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]:
    """A handler whose shape errors say which layer they come from."""

    def wrapped(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
        try:
            return handler(layer, inputs, to)
        except InputError as error:
            text = str(error)
            raise FormatError(text if text.startswith(layer.where) else f"{layer.where}: {text}") from None

    return wrapped


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    "ZeroPadding1D": _pad,
    "Cropping1D": _crop,
    "Concatenate": _concatenate,
    "Add": _folded("add"),
    "Subtract": _folded("sub"),
    "Multiply": _folded("mul"),
    "Average": _folded("add", mean=True),
    "Maximum": _folded("maximum"),
    "Minimum": _folded("minimum"),
}
