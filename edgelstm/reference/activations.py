"""The activation functions that ONNX lists for RNN, GRU and LSTM, with alpha and beta.

Source: ONNX operator specification, RNN-22, GRU-22 and LSTM-22, "Activation functions". Every function
works elementwise, keeps the dtype of a float array, and lets NaN through.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgelstm.reference.arguments import Array


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written so that exp never overflows and small results keep their digits."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return np.tanh(x)


def affine(x: Array, alpha: float, beta: float) -> Array:
    """`alpha * x + beta`."""
    return alpha * x + beta


def leaky_relu(x: Array, alpha: float) -> Array:
    """`x` where x >= 0, else `alpha * x`."""
    return np.where(x >= 0, x, alpha * x)


def thresholded_relu(x: Array, alpha: float) -> Array:
    """`x` where x >= alpha, else 0, as the recurrent operators define it. NaN stays NaN."""
    return np.where(x < alpha, np.zeros_like(x), x)


def scaled_tanh(x: Array, alpha: float, beta: float) -> Array:
    """`alpha * tanh(beta * x)`."""
    return alpha * np.tanh(beta * x)


def hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    """min(max(alpha * x + beta, 0), 1)."""
    return np.asarray(np.clip(alpha * x + beta, 0, 1))


def elu(x: Array, alpha: float) -> Array:
    """`x` where x >= 0, else `alpha * (exp(x) - 1)`."""
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


def softsign(x: Array) -> Array:
    """`x / (1 + |x|)`."""
    return np.asarray(x / (1 + np.abs(x)))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), written so that exp never overflows."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


ACTIVATIONS: dict[str, Callable[[Array, float, float], Array]] = {  # by the name as ONNX spells it, in lower case
    "relu": lambda x, *_: relu(x),
    "tanh": lambda x, *_: tanh(x),
    "sigmoid": lambda x, *_: sigmoid(x),
    "affine": affine,
    "leakyrelu": lambda x, alpha, _: leaky_relu(x, alpha),
    "thresholdedrelu": lambda x, alpha, _: thresholded_relu(x, alpha),
    "scaledtanh": scaled_tanh,
    "hardsigmoid": hard_sigmoid,
    "elu": lambda x, alpha, _: elu(x, alpha),
    "softsign": lambda x, *_: softsign(x),
    "softplus": lambda x, *_: softplus(x),
}


def activate(name: str, x: Array, alpha: float = 0.0, beta: float = 0.0) -> Array:
    """The activation of that name, as ONNX spells it (`HardSigmoid`, in any case) or as an operator's (`hard_sigmoid`).

    Raises:
        KeyError: there is no such activation.
    """
    return ACTIVATIONS[name.replace("_", "").lower()](x, alpha, beta)
