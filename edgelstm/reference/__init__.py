"""The definition of every operator of the Graph in plain NumPy: the oracle that everything else is tested against.

`REFERENCE` maps an operator's name to its function `(inputs, attrs) -> outputs`: inputs by position, None where
an optional one is absent. Results follow the dtype of the first input: float32 is computed in float32, float64 in
float64. The recurrent cells take a third argument `record`, which is told every gate and state (see `trace`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.reference import conv, gather, gru, linear, lstm, movement, norm, pointwise, pool, reduce, rnn, softmax
from edgelstm.reference.arguments import Array, Inputs, Outputs

RECURRENT: dict[str, Callable[..., Outputs]] = {**rnn.FAMILY, **gru.FAMILY, **lstm.FAMILY}

REFERENCE: dict[str, Callable[..., Outputs]] = {
    **RECURRENT,
    **linear.FAMILY,
    **conv.FAMILY,
    **pool.FAMILY,
    **pointwise.FAMILY,
    **softmax.FAMILY,
    **reduce.FAMILY,
    **norm.FAMILY,
    **movement.FAMILY,
    **gather.FAMILY,
}


def evaluate(node: Node, inputs: Inputs) -> Outputs:
    """The outputs of one node, all of them, wanted or not.

    Raises:
        KeyError: the operator is not in the table.
    """
    with np.errstate(all="ignore"):  # overflow to inf and NaN from NaN are results here, not accidents
        return REFERENCE[node.op](inputs, node.attrs)


def trace(node: Node, inputs: Inputs) -> tuple[Outputs, dict[str, Array]]:
    """Run a recurrent node and keep everything it went through.

    Returns:
        Its outputs, and name → array (T, D, B, n): i, o, f, g, c, h of an LSTM; z, r, n, h of a GRU; h of an RNN
        (g and n are the candidates). Rows past their length are 0.
    """
    kept: dict[str, dict[tuple[int, int], Array]] = {}

    def record(name: str, direction: int, t: int, value: Array) -> None:
        kept.setdefault(name, {})[t, direction] = value

    with np.errstate(all="ignore"):
        outputs = RECURRENT[node.op](inputs, node.attrs, record)
    moments, directions = outputs[0].shape[:2]
    return outputs, {
        name: np.stack([np.stack([values[t, d] for d in range(directions)]) for t in range(moments)])
        for name, values in kept.items()
    }
