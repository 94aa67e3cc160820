"""The GRU cell.

Sources: ONNX operator specification, GRU-22; Cho et al. 2014 (arXiv:1406.1078).

Chung et al. 2014 (arXiv:1412.3555) and many textbooks write the update the other way round,
h' = (1 - z) * h + z * n. Since 1 - sigmoid(a) = sigmoid(-a), that is this cell with the z rows of w, r and b
negated; their form has no biases and resets before the product (linear_before_reset = 0).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelstm.graph.stored import bounded_state
from edgelstm.reference import quantized
from edgelstm.reference.arguments import Array, Attrs, Inputs, Outputs, given, integer, optional
from edgelstm.reference.recurrent import Record, Step, activations, start, unroll


def gru(inputs: Inputs, attrs: Attrs, record: Record | None = None) -> Outputs:
    """Gated recurrent unit over a sequence.

    Inputs: x (T, B, I), w (D, 3H, I), r (D, 3H, H), b (D, 6H)?, lengths (B,)?, h0 (D, B, H)?. Gates stand in the
    order z, r, h; b is the bias of the input product, then of the recurrent one.

    linear_before_reset says where the reset gate acts: 0 on h before its product, 1 on the product and its bias
    (PyTorch, cuDNN, Keras with reset_after).

    Returns y (T, D, B, H), h (D, B, H). Records z, r, the candidate n, and h.
    """
    x = given(inputs, 0)
    w, r = (given(inputs, k).astype(x.dtype, copy=False) for k in (1, 2))
    b, h0 = (optional(inputs, k, like=x) for k in (3, 5))
    count = len(w)
    steps = [_step(attrs, d, w[d], r[d], None if b is None else b[d]) for d in range(count)]
    states = (start(x, h0, count, integer(attrs, "hidden_size")),)
    return unroll(steps, attrs, quantized.inputs(x, attrs), optional(inputs, 4), states, optional(inputs, 6), record)


def _step(attrs: Attrs, direction: int, w: Array, r: Array, b: Array | None) -> Step:
    f_, g_ = activations(attrs, direction, 2)
    reset_after = bool(integer(attrs, "linear_before_reset"))
    size = integer(attrs, "hidden_size")
    bounded = bounded_state("gru", attrs, direction)
    w_z, w_r, w_n = w.reshape(3, size, -1)
    r_z, r_r, r_n = r.reshape(3, size, -1)
    wb_z, wb_r, wb_n, rb_z, rb_r, rb_n = np.zeros((6, size), w.dtype) if b is None else b.reshape(6, size)

    def step(x: Array, h: Array) -> tuple[tuple[Array], Mapping[str, Array]]:
        q = quantized.state(h, attrs, bounded)
        z = f_(x @ w_z.T + q @ r_z.T + wb_z + rb_z)
        r = f_(x @ w_r.T + q @ r_r.T + wb_r + rb_r)
        if reset_after:
            n = g_(x @ w_n.T + r * (q @ r_n.T + rb_n) + wb_n)
        else:
            n = g_(x @ w_n.T + quantized.state(r * h, attrs, bounded) @ r_n.T + rb_n + wb_n)
        h = (1 - z) * n + z * h
        return (h,), {"z": z, "r": r, "n": n, "h": h}

    return step


FAMILY = {"gru": gru}
