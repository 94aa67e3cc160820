"""What the instructions on int8 weights share: how a matrix is packed, and the fields that say how it is multiplied.

A matrix has its outputs in vectors of 16 lanes, in the order that its kernel wants them. Vectors go in groups of
four, the rest one by one. A group of n vectors holds

- in `FLOAT` mode: for each k, n · 16 floats;
- in `INTEGER` mode (activations on 8 bits) and `WIDENED` mode (float activations, weights widened on the way): the
  scales of its n · 16 outputs; the sums of their weights, negated, as int32;
  then for each four k: n vectors of 16 lanes of 4 weights, one byte each. k is filled up with
  zeros to fours.

One layout serves every instruction set: see `machine/dot.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelstm.graph.ir import Array, Node
from edgelstm.graph.stored import MAX_INNER, ZERO_LIMIT, channel_axes, channel_scales
from edgelstm.program.lower.recurrent import TOGETHER, Floats, constant, padded
from edgelstm.program.lower.strides import region
from edgelstm.program.opcodes import ABSENT, LANES, Fields, Region, float_bits

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

FLOAT, INTEGER, WIDENED = range(3)
GROUP = 4  # vectors that advance together
FACTORS = 2  # words of a row's scale and zero point

Bytes = npt.NDArray[np.int8]


def matrix_words(mode: int, vectors: int, inner: int) -> int:
    """Words of a packed matrix."""
    each = inner if mode == FLOAT else 2 + quads(inner)
    return vectors * LANES * each


def quads(inner: int) -> int:
    """Words that hold `inner` bytes."""
    return -(-inner // 4)


def row_words(inner: int) -> int:
    """Words of a row of activations on 8 bits, in whole vectors of floats."""
    return padded(inner) // 4


def together_words(fields: Fields, gates: int, states: int, sums: int = 1) -> int:
    """What the rows of a cell's batch need that go together; 0 where they go alone.

    Args:
        fields: the instruction's.
        gates: vectors of sums of a block of 16 units.
        states: of each row, rows of units.
        sums: 2 where those over h stand apart.
    """
    if fields["lengths"] != ABSENT or fields["keep"] != ABSENT or fields["B"] < 2:
        return 0
    blocks = 1 if gates == GROUP else GROUP  # whose gates make whole groups
    inputs, units = fields["I"], fields["H"]
    row = states * padded(units) + sums * blocks * gates * LANES + row_words(inputs) + row_words(units) + 2 * FACTORS
    return min(fields["B"], TOGETHER) * row


def check_matrix(fields: Fields, name: str, mode: str, vectors: int, inner: int) -> Region:
    """The region of a packed matrix.

    Raises:
        ValueError: the mode is none, or the sums could leave int32.
    """
    if fields[mode] not in (FLOAT, INTEGER, WIDENED):
        raise ValueError(f"{mode} is {fields[mode]}: expected {FLOAT}, {INTEGER} or {WIDENED}")
    if inner > MAX_INNER and fields[mode] == INTEGER:
        raise ValueError(f"{inner} products in one sum of {name}: int32 holds {MAX_INNER}")
    return region(fields[name], matrix_words(fields[mode], vectors, inner))


def check_scale(fields: Fields) -> None:
    """Raises ValueError where x_scale is not the bits of a float32, or x_zero no activation."""
    if not -ZERO_LIMIT <= fields["x_zero"] <= ZERO_LIMIT:
        raise ValueError(f"x_zero is {fields['x_zero']}: expected -{ZERO_LIMIT} to {ZERO_LIMIT}")
    if not 0 <= fields["x_scale"] < 1 << 31:
        raise ValueError(f"x_scale is {fields['x_scale']}: expected the bits of a float32, 0 or above")


def x_fields(node: Node) -> dict[str, int]:
    """The fixed scale and zero point of a node's inputs, as a row carries them."""
    attrs: Mapping[str, Any] = node.attrs
    return {"x_scale": float_bits(attrs["x_scale"]), "x_zero": attrs["x_zero"]}


def pack_floats(rows: Floats) -> Floats:
    """rows (n · 16, k) -> groups of four vectors, each (k, vectors, 16)."""
    return _by_groups(rows, lambda part: [part.reshape(-1, LANES, part.shape[1]).transpose(2, 0, 1)])


def pack_integers(rows: Bytes, scales: Floats) -> Floats:
    """rows (n · 16, k) int8 and their scales -> groups of four vectors: scales, starts, (k / 4, vectors, 16, 4)
    bytes.
    """
    filled = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    starts = (-rows.astype(np.int64).sum(axis=1)).astype(np.int32)

    def pack(part: Array) -> list[Array]:
        order = part[:, 0]
        lanes = filled[order].reshape(-1, LANES, filled.shape[1] // 4, 4).transpose(2, 0, 1, 3)
        return [scales[order], starts[order].view(np.float32), np.ascontiguousarray(lanes).view(np.float32)]

    return _by_groups(np.arange(len(rows))[:, None], pack)


def _by_groups(rows: Array, pack: Callable[[Array], list[Array]]) -> Floats:
    whole = len(rows) // (GROUP * LANES) * GROUP * LANES
    cuts = [*range(0, whole, GROUP * LANES), *range(whole, len(rows), LANES), len(rows)]
    parts = [part for a, b in pairwise(cuts) for part in pack(rows[a:b])]
    if not parts:
        return np.zeros(0, np.float32)
    return np.concatenate([np.ascontiguousarray(part).ravel() for part in parts])


def gate_rows(gates: int, units: int, chosen: tuple[int, ...] | None = None) -> npt.NDArray[np.intp]:
    """The order of outputs that gives, for each block of 16 units, the gates one after another; -1 fills up."""
    picked = range(gates) if chosen is None else chosen
    lanes = np.arange(padded(units))
    order = np.stack([np.where(lanes < units, gate * units + lanes, -1) for gate in picked])
    return order.reshape(len(picked), -1, LANES).transpose(1, 0, 2).ravel()


def arrange(values: Array, order: npt.NDArray[np.intp], fill: float = 0) -> Array:
    """Rows of `values` in an order; -1 gives a row of `fill`."""
    out = np.where((order >= 0).reshape(-1, *[1] * (values.ndim - 1)), values[np.maximum(order, 0)], fill)
    return np.ascontiguousarray(out.astype(values.dtype))


def matrix(
    node: Node,
    to: Lowering,
    name: str,
    role: str,
    order: npt.NDArray[np.intp],
    direction: int | None = None,
    tag: str = "",
) -> tuple[int, int]:
    """Pack the weights of one product: where, and how they are multiplied.

    Args:
        node: whose product it is.
        to: where it goes.
        name: the constant, (out, in) or, with a direction, (D, out, in); for a convolution any (out, ...).
        role: the product's name in the node's `int8`.
        order: the outputs in the kernel's order, -1 where a lane is filled up.
        direction: which of the first axis; None: there is no such axis.
        tag: what tells several matrices of one constant apart.

    Raises:
        UnsupportedError: the weights are computed while the model runs.
    """
    key = ("int8", name, tag, direction, order.tobytes())
    stored = to.integers(name)
    scales = None if stored is None else channel_scales(*stored, channel_axes(node.op))
    if stored is None or scales is None:
        rows = constant(node, to, name, role)
        assert rows is not None
        chosen = rows if direction is None else rows[direction]
        chosen = chosen.reshape(len(chosen), -1)
        return to.pack(key, lambda: pack_floats(arrange(chosen, order))), FLOAT
    integers, factors = (part if direction is None else part[direction] for part in (stored[0], scales))
    roles: Any = node.attrs["int8"]
    mode = INTEGER if role in roles else WIDENED
    flat = integers.reshape(len(integers), -1)
    return to.pack(key, lambda: pack_integers(arrange(flat, order), arrange(factors, order, 1.0))), mode


def uses_int8(node: Node, to: Lowering, names: tuple[str, ...]) -> bool:
    """Whether some of these weights are stored as int8."""
    return any(name and to.integers(name) is not None for name in names)
