"""Activation functions by Keras's names.

Versions disagree on `hard_sigmoid`: Keras 2 has clip(0.2 x + 0.5) (keras/src/backend.py), Keras 3 relu6(x + 3) / 6
(keras/src/activations/activations.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm_converters.keras.builder import KerasBuilder
from edgelstm_converters.keras.config import Layer, brief, make_layer
from edgelstm_converters.layers.functions import Function

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "exponential": "exp"}
_SIMPLE: dict[str, dict[str, float]] = {
    "relu": {},
    "sigmoid": {},
    "tanh": {},
    "softplus": {},
    "softsign": {},
    "exp": {},
    "elu": {"alpha": 1.0},
    "leaky_relu": {"alpha": 0.2},
    "softmax": {},
    "log_softmax": {},
}
_CELLS = ("relu", "sigmoid", "tanh", "softplus", "softsign", "elu", "leaky_relu", "hard_sigmoid")
# Layers that may stand in the place of a function: operator, what versions call its constant, its default.
_LAYERS = {"LeakyReLU": ("leaky_relu", ("negative_slope", "alpha"), 0.3), "ELU": ("elu", ("alpha",), 1.0)}
_NONE = ("linear", "identity")


def read_name(layer: Layer, key: str, default: str = "linear") -> str | Function:
    """The function that a key names, or the operator and constants of a layer that stands in its place.

    Raises:
        UnsupportedError: the key holds a function that is not one of Keras's, or another layer.
    """
    found = layer.get(key, "linear" if key in layer.config else default)  # to Keras null is no function at all
    if isinstance(found, Mapping) and str(found.get("class_name")) in _LAYERS:
        inner = make_layer(found, layer.file, "", layer.version)
        op, keys, constant = _LAYERS[inner.kind]
        given = next((key for key in keys if inner.has(key)), keys[0])
        constants = {"alpha": inner.number(given, constant)}
        inner.finish()
        return op, constants
    if isinstance(found, Mapping) and found.get("class_name") == "function" and found.get("module") == "keras":
        found = found.get("config")
    if not isinstance(found, str):
        raise layer.refuse(
            key,
            found,
            "give the function by its name, or put a layer of its own (ReLU, Softmax, Activation...) behind this one",
        )
    return _ALIASES.get(found, found)


def cell_function(layer: Layer, key: str, default: str) -> Function:
    """A function of a recurrent cell.

    Raises:
        UnsupportedError: cells do not have it.
    """
    name = read_name(layer, key, default)
    if isinstance(name, tuple):
        return name
    if name in _NONE:
        return "affine", {"alpha": 1.0, "beta": 0.0}
    if name not in _CELLS:
        raise layer.refuse(key, name, f"inside a cell there are {', '.join((*_CELLS, 'linear'))}")
    return name, hard_sigmoid(layer, key) if name == "hard_sigmoid" else dict(_SIMPLE[name])


def hard_sigmoid(layer: Layer, key: str) -> dict[str, float]:
    """The constants that `hard_sigmoid` has in the file's version of Keras."""
    if not layer.version:
        raise FormatError(
            f"{layer.where}: {key}: hard_sigmoid differs between Keras 2 and 3, and the file does not say which wrote "
            "it: pass keras_version='2' or '3' to load_keras"
        )
    return {"alpha": 1.0 / 6.0 if layer.version >= 3 else 0.2, "beta": 0.5}


def apply(layer: Layer, key: str, to: KerasBuilder, default: str = "linear") -> str:
    """Applies the function that a key names to the current value; gives its name.

    Raises:
        UnsupportedError: there is no such function.
    """
    name = read_name(layer, key, default)
    if isinstance(name, tuple):
        to.then(name[0], f"{layer.name}.{name[0]}", **name[1])
        return name[0]
    label = f"{layer.name}.{name}"
    if name in _NONE:
        return "linear"
    if name == "hard_sigmoid":
        to.then(name, label, **hard_sigmoid(layer, key))
    elif name in _SIMPLE:
        to.then(name, label, **_SIMPLE[name])
    elif name in COMPOSED:
        COMPOSED[name](layer, key, label, to)
    else:
        known = ", ".join(sorted((*_SIMPLE, *COMPOSED, *_NONE, "hard_sigmoid")))
        raise UnsupportedError(f"{layer.where}: {key}: expected one of {known}, got {brief(name)}")
    return name


def _selu(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    to.then("elu", label, alpha=SELU_ALPHA)
    to.then("affine", label, alpha=SELU_SCALE, beta=0.0)


def _silu(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    x = to.value
    to.then("sigmoid", label)
    to.then("mul", label, x)


def _hard_silu(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    x = to.value
    to.then("hard_sigmoid", label, alpha=1.0 / 6.0, beta=0.5)
    to.then("mul", label, x)


def _mish(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    x = to.value
    to.then("softplus", label)
    to.then("tanh", label)
    to.then("mul", label, x)


def _gelu(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    x = to.value
    to.then("affine", label, alpha=math.sqrt(0.5), beta=0.0)
    to.then("erf", label)
    to.then("affine", label, alpha=0.5, beta=0.5)
    to.then("mul", label, x)


def _relu6(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    to.then("relu", label)
    to.then("minimum", label, to.scalar(f"{label}.most", 6.0))


def _hard_tanh(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    to.then("maximum", label, to.scalar(f"{label}.least", -1.0))
    to.then("minimum", label, to.scalar(f"{label}.most", 1.0))


def _log_sigmoid(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    to.then("neg", label)
    to.then("softplus", label)
    to.then("neg", label)


def _tanh_shrink(layer: Layer, key: str, label: str, to: KerasBuilder) -> None:
    x = to.value
    (y,) = to.node("tanh", [x], label, 1, {})
    to.then("sub", label, y)


COMPOSED: Mapping[str, Callable[[Layer, str, str, KerasBuilder], Any]] = {
    "selu": _selu,
    "silu": _silu,
    "hard_silu": _hard_silu,
    "mish": _mish,
    "gelu": _gelu,
    "relu6": _relu6,
    "hard_tanh": _hard_tanh,
    "log_sigmoid": _log_sigmoid,
    "tanh_shrink": _tanh_shrink,
}
