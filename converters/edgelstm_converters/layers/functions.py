"""Activation functions by the names that users write, as operators of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.ops import ACTIVATIONS
from edgelstm_converters.layers.entry import OPEN, Entry, finite

Function: TypeAlias = tuple[str, dict[str, float]]  # operator name, its constants

NO_FUNCTION = ("", "none", "linear", "identity")
_POINTWISE = (*ACTIVATIONS, "exp", "softmax", "log_softmax")
# Frameworks disagree on these constants (hard_sigmoid: PyTorch and Keras 3 have 1/6, Keras 2 and ONNX 0.2;
# leaky_relu: PyTorch and ONNX 0.01, Keras 0.2 or 0.3), so a name alone stands only where one reading is left.
_DISPUTED = ("hard_sigmoid", "leaky_relu")
_SETTLED: Mapping[tuple[str, str], dict[str, float]] = {
    ("torch", "hard_sigmoid"): {"alpha": 1.0 / 6.0, "beta": 0.5},
    ("torch", "leaky_relu"): {"alpha": 0.01},
    ("onnx", "hard_sigmoid"): {"alpha": 0.2, "beta": 0.5},
    ("onnx", "leaky_relu"): {"alpha": 0.01},
}


def read_function(entry: Entry, key: str) -> Function | None:
    """The function that a key of the entry names; None for no function.

    A function is a name ("relu") or a dict with its constants: {"function": "leaky_relu", "alpha": 0.3}.

    Raises:
        UnsupportedError: there is no such function.
        InputError: a constant is unknown, not a number, or one that frameworks disagree on is missing.
    """
    name, given = _spelled(entry, key, entry.value(key))
    if name is None or name.lower() in NO_FUNCTION:
        if given:
            raise InputError(f"{entry.where}: {key}: constants {', '.join(given)} without a function")
        return None
    found = _known(entry, key, name, _POINTWISE, "or None for none")
    return found, _constants(entry, key, found, given)


def cell_function(entry: Entry, key: str, value: Any) -> Function:
    """A function of a recurrent cell: one of those that ONNX lists, or "linear" for none.

    Raises:
        UnsupportedError: there is no such function, or cells do not have it.
        InputError: the function is not given, or its constants do not fit.
    """
    name, given = _spelled(entry, key, value)
    if name is None:
        raise InputError(
            f"{entry.where}: {key}: expected a function such as 'tanh' or 'relu': the arrays do not say it"
        )
    if name.lower() in ("linear", "identity"):
        name, given = "affine", {"alpha": 1.0, "beta": 0.0}
    found = _known(entry, key, name, ACTIVATIONS, "or linear")
    return found, _constants(entry, key, found, given)


def _spelled(entry: Entry, key: str, value: Any) -> tuple[str | None, dict[str, Any]]:
    """Name and constants as the user wrote them."""
    given: dict[str, Any] = {}
    name = value
    if isinstance(value, Mapping):
        given = dict(value)
        name = given.pop("function", None)
    if (name is None and isinstance(value, Mapping)) or not (name is None or isinstance(name, str)):
        raise InputError(f"{entry.where}: {key}: expected a name or {{'function': name, ...}}, got {value!r}")
    return name, given


def _known(entry: Entry, key: str, name: str, allowed: Iterable[str], also: str) -> str:
    """The operator that a spelling means: `HardSigmoid`, `hardsigmoid` and `hard_sigmoid` are one."""
    for known in allowed:
        if name != OPEN and known.replace("_", "") == name.lower().replace("_", ""):
            return known
    raise UnsupportedError(f"{entry.where}: {key}: expected one of {', '.join(allowed)} {also}, got {name!r}")


def _constants(entry: Entry, key: str, name: str, given: Mapping[str, Any]) -> dict[str, float]:
    spec = ACTIVATIONS[name].attrs if name in ACTIVATIONS else {}
    if unknown := sorted(set(given) - set(spec)):
        has = ", ".join(spec) or "none"
        raise InputError(f"{entry.where}: {key}: {name} has no constant {', '.join(unknown)}; it has {has}")
    constants = {constant: finite(value, f"{entry.where}: {key}: {constant}") for constant, value in given.items()}
    settled = _SETTLED.get((entry.layout, name), {})
    if name in _DISPUTED and not set(spec) <= {*constants, *settled}:
        example = ", ".join(f"'{constant}': ..." for constant in spec)
        raise InputError(
            f"{entry.where}: {key}: {name} has other constants in other versions of the framework: write "
            f"{{'function': '{name}', {example}}}"
        )
    return {**{constant: finite(value, name) for constant, value in spec.items()}, **settled, **constants}
