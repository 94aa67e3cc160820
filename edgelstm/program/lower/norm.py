"""Layer normalisation over the last axes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from edgelstm.graph.ir import Node
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import ABSENT, Fields, Opcode, Region, float_bits

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    rows, count = sizes(fields, "rows", "count")
    if not -(1 << 31) <= fields["epsilon"] < 1 << 31:
        raise ValueError(f"epsilon is {fields['epsilon']}: expected the bits of a float32")
    regions = [region(fields["x"], rows * count), region(fields["scale"], count)]
    if fields["bias"] != ABSENT:
        regions.append(region(fields["bias"], count))
    return [*regions, region(fields["y"], rows * count, write=True)]


# Each row of x (rows, count): (x - mean) / sqrt(variance + epsilon) * scale + bias
LAYER_NORM = Opcode(
    33, "layer_norm", ("x", "scale", "bias", "y", "rows", "count", "epsilon"), _check, ("x", "scale", "bias", "y")
)


def lower_layer_norm(node: Node, to: Lowering) -> None:
    """Normalise over the axes from `axis` on."""
    attrs: Mapping[str, Any] = node.attrs
    x, scale, bias = node.inputs
    shape = to.shape(x)
    axis = attrs["axis"] % len(shape)
    operands = {"x": to.operand(x), "scale": to.operand(scale), "bias": to.operand(bias)}
    operands["y"] = to.result(node.outputs[0])
    if prod(shape):
        rows, count = prod(shape[:axis]), prod(shape[axis:])
        to.emit(LAYER_NORM, **operands, rows=rows, count=count, epsilon=float_bits(attrs["epsilon"]))


OPCODES = (LAYER_NORM,)
LOWER = {"layer_norm": lower_layer_norm}
