"""Softmax and its logarithm along one axis."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from edgelstm.graph.ir import Node
from edgelstm.program.lower.strides import flag, region, sizes
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    words = prod(sizes(fields, "outer", "count", "inner"))
    flag(fields, "log")
    # The exponentials are read back from y.
    return [region(fields["x"], words), region(fields["y"], words), region(fields["y"], words, write=True)]


# Along the middle axis of x (outer, count, inner), which must not be y: e**(x - max) / sum, sums ascending
SOFTMAX = Opcode(32, "softmax", ("x", "y", "outer", "count", "inner", "log"), _check, ("x", "y"))


def lower_softmax(node: Node, to: Lowering) -> None:
    """softmax and log_softmax."""
    attrs: Mapping[str, Any] = node.attrs
    x, y = node.inputs[0], node.outputs[0]
    shape = to.shape(x)
    axis = attrs["axis"] % len(shape)
    operands = {"x": to.operand(x), "y": to.result(y)}
    counts = {"outer": prod(shape[:axis]), "count": shape[axis], "inner": prod(shape[axis + 1 :])}
    if prod(shape):
        to.emit(SOFTMAX, **operands, **counts, log=int(node.op == "log_softmax"))


OPCODES = (SOFTMAX,)
LOWER = {"softmax": lower_softmax, "log_softmax": lower_softmax}
