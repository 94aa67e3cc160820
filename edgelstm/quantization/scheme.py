"""The int8 scheme in one place: what is stored, what is computed, and why it cannot overflow.

**Weights** are symmetric, one scale for each output channel (for each row of each gate): s = max |w| / 127 and
q = round(w / s), ties to even, so |q| <= 127 and |w - q s| <= s / 2. A row of zeros has the scale 1.

**Activations** have one scale s and one zero point z for each row of each step, q = round(x / s) + z within ±127:

- inputs: from the range of the row, stretched to hold 0: s = (high - low) / 254, z = -127 - round(low / s) (dynamic);
  or fixed ones from calibration, beyond which values saturate. Inputs that are never negative, spectra and counts above
  all, so keep all levels;
- the state h of a cell with |h| <= 1 (`graph/stored.py: bounded_state`): z = 0 and s = 1/127, fixed. That holds from
  |h0| <= 1 on; every step looks at the state that it starts from, and takes max |h| / 127 where a caller set it
  beyond 1;
- any other state, a projected one above all: as inputs.

Inputs and state keep scales of their own: their sums are made apart and meet in float32.

**Sums** are int32 and exact. What is summed is q_w (q_x - z): with |q_w| <= 128 and |q_x - z| <= 254, n products stay
within n · 128 · 254; n is at most 2**16, and 2**16 · 128 · 254 = 2 130 706 432 < 2**31. A machine sums q_w q_x from
-z · sum(q_w) on; where activations are stored 128 higher, u = q + 128, from -(z + 128) · sum(q_w). int32 arithmetic
wraps, so only the result must fit, and it is the same one.

**The rest** is float32: a gate is bias + s_x s_w Σ q_w (q_x - z_x) + s_h s_r Σ q_r q_h; nonlinearities and cell
state as ever.

*Weight-only* keeps the activations in float32 and widens each weight on its way: bias + s_w Σ x q_w.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array, Graph, Node
from edgelstm.graph.stored import MATRICES, MAX_INNER, channel_axes, quantized

LEVELS = 127
TABLE = "table"  # the role of an embedding


@dataclass(frozen=True, slots=True)
class Matrix:
    """The weights of one product.

    Attributes:
        node: the index of its node in the graph.
        role: "x", "h", "proj", or "table" for an embedding.
        constant: the name of its weights.
        label: what reports call it.
        op: its operator.
        shape: (directions, outputs, inner); an embedding has (1, entries, width).
        barred: why it cannot be computed on 8-bit activations, "" where it can.
        taps: products that it is made of: positions of a convolution's kernel.
    """

    node: int
    role: str
    constant: str
    label: str
    op: str
    shape: tuple[int, int, int]
    barred: str = ""
    taps: int = 1

    @property
    def size(self) -> int:
        """Numbers in it."""
        return int(np.prod(self.shape))


def quantize_weights(w: Array, leading: int) -> tuple[Array, Array]:
    """Weights (channels..., inner...) as int8 and their scales, of the same number of axes.

    Args:
        w: float32.
        leading: how many leading axes count output channels.
    """
    inner = tuple(range(leading, w.ndim))
    limit = np.abs(w).max(axis=inner, keepdims=True, initial=0).astype(np.float32)
    # A scale that is not a normal number would lose the digits of what it scales.
    scale = np.where(limit > LEVELS * np.finfo(np.float32).tiny, limit / np.float32(LEVELS), np.float32(1))
    q = np.clip(np.rint(w / scale), -LEVELS, LEVELS).astype(np.int8)
    q.flags.writeable = False
    scale.flags.writeable = False
    return q, scale


def matrices(graph: Graph) -> list[Matrix]:
    """Every matrix of a graph that may be stored as int8, in the order of its nodes."""
    found = []
    users = _users(graph)
    for index, node in enumerate(graph.nodes):
        for role, position in _roles(node).items():
            name = node.inputs[position]
            array = graph.constants.get(name)
            if array is None or array.dtype != np.float32 or not array.size or any(users[name] - {_kind(node, role)}):
                continue
            leading = channel_axes(node.op)
            outer = array.shape[0] if leading == 2 else 1
            shape = (outer, array.shape[leading - 1], int(np.prod(array.shape[leading:])))
            label = f"{node.name or next(filter(None, node.outputs))}.{role}"
            taps = int(np.prod(array.shape[2:])) if node.op == "conv" else 1
            found.append(Matrix(index, role, name, label, node.op, shape, _barred(node, role, array), taps))
    return found


def apply(
    graph: Graph,
    computed: Iterable[Matrix],
    stored: Iterable[Matrix] = (),
    scales: Mapping[int, tuple[float, int]] = MappingProxyType({}),
    rounded: Mapping[str, Array] = MappingProxyType({}),
) -> Graph:
    """The graph with some matrices on int8.

    Args:
        graph: any graph.
        computed: matrices to store as int8 and multiply with 8-bit activations.
        stored: matrices to store as int8 and widen on the way.
        scales: node index → fixed scale and zero point of its inputs.
        rounded: constant → its integers, where they are not simply the nearest.
    """
    computed, stored = list(computed), list(stored)
    constants, factors, nodes = dict(graph.constants), dict(graph.scales), list(graph.nodes)
    for one in (*computed, *stored):
        if one.constant not in factors:
            leading = channel_axes(one.op)
            nearest, factors[one.constant] = quantize_weights(graph.constants[one.constant], leading)
            constants[one.constant] = rounded.get(one.constant, nearest)
    roles: dict[int, set[str]] = {}
    for one in computed:
        if one.role != TABLE:
            roles.setdefault(one.node, set()).add(one.role)
    for index, chosen in roles.items():
        node = nodes[index]
        ordered = tuple(role for role in MATRICES[node.op] if role in chosen)
        scale, zero = scales.get(index, (0.0, 0)) if "x" in chosen else (0.0, 0)
        nodes[index] = replace(node, attrs={**node.attrs, "int8": ordered, "x_scale": scale, "x_zero": zero})
    return replace(graph, nodes=tuple(nodes), constants=constants, scales=factors)


def store_exact(graph: Graph, step: float) -> Graph:
    """The graph with every matrix that is whole multiples of `step` stored as those integers; nothing is rounded.

    For models whose weights were trained or published as int8: they stay what they are, in files and in memory, and are
    widened in the kernels; activations stay float.

    Args:
        graph: any graph.
        step: the one scale of all weights, such as 1 / 256.

    Raises:
        InputError: the step is not a number above 0.
    """
    if not 0 < step < np.inf:
        raise InputError(f"step: expected a number above 0, got {step}")
    constants, factors = dict(graph.constants), dict(graph.scales)
    for one in matrices(graph):
        w = constants[one.constant]
        levels = w.astype(np.float64) / step
        if w.dtype != np.float32 or np.abs(levels + 0.5).max() > 127.5 or not np.array_equal(levels, np.rint(levels)):
            continue
        leading = channel_axes(one.op)
        scale = np.full((*w.shape[:leading], *[1] * (w.ndim - leading)), step, np.float32)
        constants[one.constant], factors[one.constant] = quantized(levels.astype(np.int8), scale)
    return replace(graph, constants=constants, scales=factors)


def halve(graph: Graph, names: Collection[str]) -> Graph:
    """The graph with some float32 constants stored as float16, those that it can hold."""
    constants = dict(graph.constants)
    for name in names:
        array = constants[name]
        narrow = array.astype(np.float16)
        if array.dtype == np.float32 and np.isfinite(narrow).all():
            narrow.flags.writeable = False
            constants[name] = narrow
    return replace(graph, constants=constants)


def weight_constants(graph: Graph) -> set[str]:
    """Constants that hold weights: every float input of a layer but its start states."""
    found = set()
    for node in graph.nodes:
        if node.op in MATRICES:
            starts = (0, 4, 5, 6) if channel_axes(node.op) == 2 else (0,)
            found |= {name for k, name in enumerate(node.inputs) if k not in starts and name in graph.constants}
        elif node.op == "gather":
            found |= {node.inputs[0]} & set(graph.constants)
    return {name for name in found if graph.constants[name].dtype == np.float32}


def _roles(node: Node) -> Mapping[str, int]:
    if node.op == "gather":
        return {TABLE: 0}
    return {role: k for role, k in MATRICES.get(node.op, {}).items() if k < len(node.inputs) and node.inputs[k]}


def _kind(node: Node, role: str) -> tuple[str, int]:
    return ("table" if role == TABLE else "matrix", channel_axes(node.op))


def _users(graph: Graph) -> dict[str, set[tuple[str, int]]]:
    """In what way each constant is used: only those used in one way can be stored as int8."""
    users: dict[str, set[tuple[str, int]]] = {}
    for node in graph.nodes:
        positions = {k: role for role, k in _roles(node).items()}
        for k, name in enumerate(node.inputs):
            if name in graph.constants:
                kind = _kind(node, positions[k]) if k in positions else ("other", 0)
                users.setdefault(name, set()).add(kind)
    for name in (*graph.outputs.values(), *graph.initial.values()):
        if name in graph.constants:
            users.setdefault(name, set()).add(("other", 0))
    return users


def _barred(node: Node, role: str, array: Array) -> str:
    attrs: Mapping[str, Any] = node.attrs
    if role == TABLE:
        return "a table has no product" if attrs["axis"] == 0 else "a table read along another axis than its first"
    if node.op == "conv" and attrs["group"] != 1:
        return f"a convolution in {attrs['group']} groups"
    if array.shape[channel_axes(node.op)] > MAX_INNER:
        return f"more than {MAX_INNER} products in one sum"
    if not np.isfinite(array).all():
        return "weights that are not finite"
    return ""
