"""Activation entries: one function between layers, or at the end."""

from __future__ import annotations

from edgelstm.errors import InputError
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.functions import Function, read_function


def apply_function(function: Function | None, to: ChainBuilder, label: str) -> None:
    """Appends a function; softmax runs over the features."""
    if function is None:
        return
    name, constants = function
    to.then(name, f"{label}.{name}", **constants)


def add_activation(entry: Entry, to: ChainBuilder) -> None:
    """Appends an activation entry.

    Raises:
        InputError: the function is missing.
    """
    to.need_features(entry.where)
    function = read_function(entry, "activation")
    if function is None:
        raise InputError(f"{entry.where}: activation: expected the name of a function, got nothing")
    apply_function(function, to, entry.label)
    to.report.append(f"{entry.label}: {function[0]}")
