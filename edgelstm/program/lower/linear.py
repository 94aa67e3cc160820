"""The linear instruction: rows of inputs times constant weights, y = x @ w.T + b.

Weights are packed in blocks of 16 outputs: the bias, then for each k the 16 weights of column k.
Outputs are filled up with zeros to whole blocks.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.program.lower.recurrent import Floats, constant, pack_gates, padded
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    rows, inputs = sizes(fields, "rows", "inputs", least=0)
    (outputs,) = sizes(fields, "outputs")
    return [
        region(fields["x"], rows * inputs),
        region(fields["w"], padded(outputs) * (1 + inputs)),
        region(fields["y"], rows * outputs, write=True),
    ]


LINEAR = Opcode(4, "linear", ("x", "w", "y", "rows", "inputs", "outputs"), _check, ("x", "w", "y"))


def pack(w: Floats, b: Floats | None) -> Floats:
    """w (out, in), b (out,) -> (blocks of 16 outputs, 1 + in, 1, 16)."""
    return pack_gates(w, np.zeros(len(w), np.float32) if b is None else b, 1)


def lower_linear(node: Node, to: Lowering) -> None:
    """One instruction for all rows.

    Raises:
        UnsupportedError: the weights are computed while the model runs.
    """
    x, w_name, b_name = node.inputs
    w, b = constant(node, to, w_name, "w"), constant(node, to, b_name, "b")
    assert w is not None
    shape, y = to.shape(x), to.result(node.outputs[0])
    if not len(w) or not prod(shape[:-1]):
        return
    to.emit(
        LINEAR,
        x=to.operand(x),
        w=to.pack(("linear", w_name, b_name), partial(pack, w, b)),
        y=y,
        rows=prod(shape[:-1]),
        inputs=shape[-1],
        outputs=len(w),
    )


OPCODES = (LINEAR,)
LOWER = {"linear": lower_linear}
