"""Elementwise operators: one input with attributes, two with broadcasting, and where.

Source: the ONNX operators of the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgelstm.reference import activations
from edgelstm.reference.arguments import Array, Attrs, Inputs, Outputs, given, number, text

_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: Array) -> Array:
    """The error function; NumPy has none."""
    return np.asarray(_erf(x)).astype(x.dtype)


def thresholded_relu(x: Array, alpha: float) -> Array:
    """`x` where x > alpha, else 0: the operator excludes the threshold, the recurrent cells' activation includes it."""
    return np.where(x <= alpha, np.zeros_like(x), x)


def cast(x: Array, to: str) -> Array:
    """The same values in another dtype. Floats become integers toward zero, at most the ends of the range, NaN 0.

    A float64 array stays so where float32 is asked for: whoever computes in float64 wants it throughout.
    """
    if to == "float32" and x.dtype == np.float64:
        return x
    if np.issubdtype(x.dtype, np.floating) and np.issubdtype(np.dtype(to), np.integer):
        ends = np.iinfo(to)
        whole = np.nan_to_num(np.trunc(x), nan=0.0)
        inside = np.where((whole > ends.min) & (whole < ends.max), whole, 0).astype(to)
        return np.where(whole >= ends.max, ends.max, np.where(whole <= ends.min, ends.min, inside)).astype(to)
    return x.astype(to)


def div(a: Array, b: Array) -> Array:
    """`a / b`; integers round towards zero."""
    if np.issubdtype(a.dtype, np.floating):
        return np.asarray(a / b)
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype)


def power(a: Array, b: Array) -> Array:
    """`a ** b` in the dtype of a."""
    return np.asarray(np.power(a, b)).astype(a.dtype)


UNARY: dict[str, Callable[[Array, Attrs], Array]] = {
    "sigmoid": lambda x, _: activations.sigmoid(x),
    "tanh": lambda x, _: activations.tanh(x),
    "relu": lambda x, _: activations.relu(x),
    "affine": lambda x, attrs: activations.affine(x, number(attrs, "alpha"), number(attrs, "beta")),
    "leaky_relu": lambda x, attrs: activations.leaky_relu(x, number(attrs, "alpha")),
    "thresholded_relu": lambda x, attrs: thresholded_relu(x, number(attrs, "alpha")),
    "scaled_tanh": lambda x, attrs: activations.scaled_tanh(x, number(attrs, "alpha"), number(attrs, "beta")),
    "hard_sigmoid": lambda x, attrs: activations.hard_sigmoid(x, number(attrs, "alpha"), number(attrs, "beta")),
    "elu": lambda x, attrs: activations.elu(x, number(attrs, "alpha")),
    "softsign": lambda x, _: activations.softsign(x),
    "softplus": lambda x, _: activations.softplus(x),
    "exp": lambda x, _: np.exp(x),
    "log": lambda x, _: np.log(x),
    "sqrt": lambda x, _: np.sqrt(x),
    "neg": lambda x, _: np.negative(x),
    "abs": lambda x, _: np.abs(x),
    "reciprocal": lambda x, _: 1 / x,
    "erf": lambda x, _: erf(x),
    "floor": lambda x, _: np.floor(x),
    "ceil": lambda x, _: np.ceil(x),
    "round": lambda x, _: np.rint(x),
    "not": lambda x, _: np.logical_not(x),
    "identity": lambda x, _: x,
    "cast": lambda x, attrs: cast(x, text(attrs, "to")),
}

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": div,
    "pow": power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "less": np.less,
    "greater": np.greater,
    "and": np.logical_and,
    "or": np.logical_or,
}


def where(inputs: Inputs, _: Attrs) -> Outputs:
    """Takes a where c, else b; all three broadcast."""
    return (np.where(given(inputs, 0), given(inputs, 1), given(inputs, 2)),)


def _unary(define: Callable[[Array, Attrs], Array]) -> Callable[[Inputs, Attrs], Outputs]:
    return lambda inputs, attrs: (np.asarray(define(given(inputs, 0), attrs)),)


def _binary(define: Callable[[Array, Array], Array]) -> Callable[[Inputs, Attrs], Outputs]:
    return lambda inputs, _: (np.asarray(define(given(inputs, 0), given(inputs, 1))),)


FAMILY = {
    **{name: _unary(define) for name, define in UNARY.items()},
    **{name: _binary(define) for name, define in BINARY.items()},
    "where": where,
}
