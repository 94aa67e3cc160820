"""The LSTM cell.

Sources: ONNX operator specification, LSTM-22 (gate order, clip, input_forget, layout of the weights);
Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000 and the peepholes of
Gers & Schmidhuber 2000; Sak, Senior & Beaufays 2014 for the projection of h (PyTorch's `proj_size`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelstm.graph.stored import bounded_state
from edgelstm.reference import quantized
from edgelstm.reference.arguments import Array, Attrs, Inputs, Outputs, given, integer, optional
from edgelstm.reference.recurrent import Record, Step, activations, start, unroll


def lstm(inputs: Inputs, attrs: Attrs, record: Record | None = None) -> Outputs:
    """Long short-term memory over a sequence.

    Inputs: x (T, B, I), w (D, 4H, I), r (D, 4H, P), b (D, 8H)?, lengths (B,)?, h0 (D, B, P)?, c0 (D, B, H)?,
    p (D, 3H)?, proj (D, P, H)?. Without proj, P is H. Gates stand in the order i, o, f, c; b is the bias of the input
    product, then of the recurrent one; peepholes p in the order i, o, f.

    Returns y (T, D, B, P), h (D, B, P), c (D, B, H). Records i, o, f, the candidate g, c and h.
    """
    x, size = given(inputs, 0), integer(attrs, "hidden_size")
    w, r = (given(inputs, k).astype(x.dtype, copy=False) for k in (1, 2))
    b, h0, c0, p, proj = (optional(inputs, k, like=x) for k in (3, 5, 6, 7, 8))
    count = len(w)
    steps = [
        _step(attrs, d, w[d], r[d], *(None if value is None else value[d] for value in (b, p, proj)))
        for d in range(count)
    ]
    states = (start(x, h0, count, r.shape[-1]), start(x, c0, count, size))
    return unroll(steps, attrs, quantized.inputs(x, attrs), optional(inputs, 4), states, optional(inputs, 9), record)


def _step(
    attrs: Attrs, direction: int, w: Array, r: Array, b: Array | None, p: Array | None, proj: Array | None
) -> Step:
    f_, g_, h_ = activations(attrs, direction, 3)
    coupled = bool(integer(attrs, "input_forget"))
    size = integer(attrs, "hidden_size")
    raw_bounded, h_bounded = (
        bounded_state("lstm", attrs, direction, projected) for projected in (False, proj is not None)
    )
    bias = np.zeros(4 * size, w.dtype) if b is None else b[: 4 * size] + b[4 * size :]
    p_i, p_o, p_f = np.zeros((3, size), w.dtype) if p is None else p.reshape(3, size)

    def step(x: Array, h: Array, c: Array) -> tuple[tuple[Array, Array], Mapping[str, Array]]:
        h = quantized.state(h, attrs, h_bounded)
        to_i, to_o, to_f, to_g = np.split(x @ w.T + h @ r.T + bias, 4, axis=-1)
        i = f_(to_i + p_i * c)
        f = 1 - i if coupled else f_(to_f + p_f * c)
        g = g_(to_g)
        c = f * c + i * g
        o = f_(to_o + p_o * c)
        h = o * h_(c)
        if proj is not None:
            h = quantized.state(h, attrs, raw_bounded, "proj") @ proj.T
        return (h, c), {"i": i, "o": o, "f": f, "g": g, "c": c, "h": h}

    return step


FAMILY = {"lstm": lstm}
