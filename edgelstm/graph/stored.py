"""How constants are stored: what is float32 to every operator may lie in memory and in files as int8 or float16.

An int8 constant has scales, one number for each output channel: its value is the integer times its scale. A float16
constant is widened as it is. Which products are computed on 8-bit activations, too, a node says itself, in its
attribute `int8`: the roles "x" (inputs), "h" (the recurrent state) and "proj" (what a projection takes). The
arithmetic is defined in `edgelstm/reference/quantized.py`; how scales are chosen, in `edgelstm/quantization/scheme.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelstm.errors import FormatError, InputError
from edgelstm.graph.ir import Array, Graph, Node, TensorType

STORED = ("int8", "float16")  # dtypes of constants that are float32 to operators

# Which input holds the weights of each product: operator → role → input.
MATRICES: Mapping[str, Mapping[str, int]] = {
    "rnn": {"x": 1, "h": 2},
    "gru": {"x": 1, "h": 2},
    "lstm": {"x": 1, "h": 2, "proj": 8},
    "linear": {"x": 1},
    "conv": {"x": 1},
}

# Sums stay within int32: at most MAX_INNER products of at most 128 · 254 each, and 2**16 · 128 · 254 < 2**31.
MAX_INNER = 1 << 16
ZERO_LIMIT = 127  # a zero point is an activation's integer, within ±127

# Functions whose values lie within ±1 for every input.
_WITHIN_ONE = ("sigmoid", "hard_sigmoid", "tanh", "softsign")
_GATES = ("sigmoid", "hard_sigmoid")


def value_type(array: Array) -> TensorType:
    """The type that operators see."""
    name = array.dtype.name
    return TensorType("float32" if name in STORED else name, array.shape)


def value(graph: Graph, name: str) -> Array:
    """A constant as operators see it."""
    return widen(graph.constants[name], graph.scales.get(name))


def widen(array: Array, scale: Array | None) -> Array:
    """int8 times its scales, or float16, as float32; anything else as it is."""
    if array.dtype == np.int8 and scale is not None:
        return array.astype(np.float32) * scale
    return array.astype(np.float32) if array.dtype == np.float16 else array


def channel_scales(array: Array, scale: Array, leading: int) -> Array | None:
    """Scales as one number for each output channel (the leading axes); None where they differ within one."""
    if any(size != 1 for size in scale.shape[leading:]):
        return None
    return np.ascontiguousarray(np.broadcast_to(scale.reshape(scale.shape[:leading]), array.shape[:leading]))


def channel_axes(op: str) -> int:
    """How many leading axes of weights count output channels: (D, gates · H, k) has 2, (out, in) has 1."""
    return 2 if op in ("rnn", "gru", "lstm") else 1


def bounded_state(op: str, attrs: Mapping[str, Any], direction: int, projected: bool = False) -> bool:
    """Whether |h| <= max(1, |h before|) holds for every input, so that h keeps the scale 1/127 from |h0| <= 1 on.

    LSTM: h = o · f(c) with o in [0, 1] and |f| <= 1. GRU: h lies between the candidate, |n| <= 1, and the h before.
    RNN: h = f(...). A projection may leave the range.
    """
    names = attrs["activations"]
    if op == "rnn":
        return names[direction] in _WITHIN_ONE
    if op == "gru":
        return names[2 * direction] in _GATES and names[2 * direction + 1] in _WITHIN_ONE
    return not projected and names[3 * direction] in _GATES and names[3 * direction + 2] in _WITHIN_ONE


def check_stored(graph: Graph) -> None:
    """Check every stored constant and every node that computes on 8 bits.

    Raises:
        FormatError: names the constant or the node.
    """
    for name, array in graph.constants.items():
        if array.dtype == np.int8:
            _check_scales(name, array, graph.scales.get(name))
    for name in graph.scales:
        if name not in graph.constants or graph.constants[name].dtype != np.int8:
            raise FormatError(f"scales of {name!r}: there is no int8 constant of that name")
    for node in graph.nodes:
        if node.attrs.get("int8"):
            _check_node(graph, node)


def _check_scales(name: str, array: Array, scale: Array | None) -> None:
    if scale is None:
        raise FormatError(f"constant {name!r} is int8 without scales; expected one scale for each output channel")
    if scale.dtype != np.float32 or scale.ndim != array.ndim:
        raise FormatError(
            f"scales of {name!r}: expected float32 with {array.ndim} axes, got {scale.dtype} {scale.shape}"
        )
    if any(size not in (1, of) for size, of in zip(scale.shape, array.shape, strict=True)):
        raise FormatError(f"scales of {name!r}: {scale.shape} does not fit {array.shape}")
    bad = scale[~(np.isfinite(scale) & (scale > 0))]
    if bad.size:
        raise FormatError(f"scales of {name!r}: expected finite numbers above 0, got {bad[0]}")


def _check_node(graph: Graph, node: Node) -> None:
    roles: Any = node.attrs["int8"]
    known = MATRICES[node.op]
    for role in roles:
        if role not in known or not node.inputs[known[role]]:
            raise FormatError(f"{node.where}: int8 names {role!r}; it has the products {', '.join(known)}")
        name = node.inputs[known[role]]
        array = graph.constants.get(name)
        if array is None or array.dtype != np.int8:
            raise FormatError(f"{node.where}: int8 names {role!r}, but {name!r} is not an int8 constant")
        if channel_scales(array, graph.scales[name], channel_axes(node.op)) is None:
            raise FormatError(f"scales of {name!r}: expected one number for each output channel, to compute in int8")
        inner = array.shape[channel_axes(node.op)]
        if inner > MAX_INNER:
            raise FormatError(f"{node.where}: {inner} products in one sum; int32 holds {MAX_INNER}")
    if node.op == "conv" and node.attrs["group"] != 1:
        raise FormatError(f"{node.where}: int8 with {node.attrs['group']} groups; expected 1")
    scale: Any = node.attrs["x_scale"]
    zero: Any = node.attrs["x_zero"]
    if not -ZERO_LIMIT <= zero <= ZERO_LIMIT:
        raise FormatError(f"{node.where}: x_zero is {zero}; expected -{ZERO_LIMIT} to {ZERO_LIMIT}")
    if not scale >= 0:
        raise FormatError(f"{node.where}: x_scale is {scale}; expected 0 (from each reading) or a number above it")


def quantized(array: Array, scale: Array) -> tuple[Array, Array]:
    """An int8 constant and its scales, read-only.

    Raises:
        InputError: they do not fit.
    """
    try:
        _check_scales("the tensor", array, scale)
    except FormatError as error:
        raise InputError(str(error)) from None
    array.flags.writeable = False
    scale.flags.writeable = False
    return array, scale
