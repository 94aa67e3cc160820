"""The plain recurrent cell.

Sources: ONNX operator specification, RNN-22; Elman 1990.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelstm.graph.stored import bounded_state
from edgelstm.reference import quantized
from edgelstm.reference.arguments import Array, Attrs, Inputs, Outputs, given, integer, optional
from edgelstm.reference.recurrent import Record, Step, activations, start, unroll


def rnn(inputs: Inputs, attrs: Attrs, record: Record | None = None) -> Outputs:
    """Plain recurrent network over a sequence.

    Inputs: x (T, B, I), w (D, H, I), r (D, H, H), b (D, 2H)?, lengths (B,)?, h0 (D, B, H)?; b is the bias of the
    input product, then of the recurrent one.

    Returns y (T, D, B, H), h (D, B, H). Records h.
    """
    x = given(inputs, 0)
    w, r = (given(inputs, k).astype(x.dtype, copy=False) for k in (1, 2))
    b, h0 = (optional(inputs, k, like=x) for k in (3, 5))
    count = len(w)
    steps = [_step(attrs, d, w[d], r[d], None if b is None else b[d]) for d in range(count)]
    states = (start(x, h0, count, integer(attrs, "hidden_size")),)
    return unroll(steps, attrs, quantized.inputs(x, attrs), optional(inputs, 4), states, optional(inputs, 6), record)


def _step(attrs: Attrs, direction: int, w: Array, r: Array, b: Array | None) -> Step:
    (f_,) = activations(attrs, direction, 1)
    size = integer(attrs, "hidden_size")
    bounded = bounded_state("rnn", attrs, direction)
    bias = np.zeros(size, w.dtype) if b is None else b[:size] + b[size:]

    def step(x: Array, h: Array) -> tuple[tuple[Array], Mapping[str, Array]]:
        h = f_(x @ w.T + quantized.state(h, attrs, bounded) @ r.T + bias)
        return (h,), {"h": h}

    return step


FAMILY = {"rnn": rnn}
