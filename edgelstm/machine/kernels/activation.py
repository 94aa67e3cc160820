"""The activation functions of recurrent cells, chosen by number at run time.

Source: ONNX operator specification, LSTM-22, "Activation functions".
"""

from __future__ import annotations

import numba

from edgelstm.machine import vecmath
from edgelstm.machine.simd import absolute, fma, maximum, minimum, select, splat
from edgelstm.program import functions

_AFFINE = functions.AFFINE
_ELU = functions.ELU
_HARD_SIGMOID = functions.HARD_SIGMOID
_LEAKY_RELU = functions.LEAKY_RELU
_RELU = functions.RELU
_SCALED_TANH = functions.SCALED_TANH
_SIGMOID = functions.SIGMOID
_SOFTPLUS = functions.SOFTPLUS
_SOFTSIGN = functions.SOFTSIGN
_TANH = functions.TANH
_THRESHOLDED_RELU = functions.THRESHOLDED_RELU


@numba.njit(error_model="numpy")
def activate(function, alpha, beta, v):
    """One activation of 16 lanes; any other number gives v itself. NaN stays NaN.

    Not to be inlined: a kernel on its general path calls it once a gate.
    """
    if function == _SIGMOID:
        return vecmath.sigmoid(v)
    if function in (_TANH, _SCALED_TANH):  # not a set, which would be allocated at every call
        scale, inner = splat(1.0), v
        if function == _SCALED_TANH:
            scale, inner = splat(alpha), v * beta
        return scale * vecmath.tanh(inner)
    if function == _RELU:
        return maximum(v, 0.0)
    if function == _AFFINE:
        return fma(splat(alpha), v, splat(beta))
    if function == _LEAKY_RELU:
        return select(v < 0.0, v * alpha, v)
    if function == _THRESHOLDED_RELU:
        return select(v < alpha, 0.0, v)
    if function == _HARD_SIGMOID:
        return minimum(maximum(fma(splat(alpha), v, splat(beta)), 0.0), 1.0)
    if function == _ELU:
        return select(v < 0.0, vecmath.expm1_negative(v) * alpha, v)
    if function == _SOFTSIGN:
        return v / (absolute(v) + 1.0)
    if function == _SOFTPLUS:
        return vecmath.softplus(v)
    return v
