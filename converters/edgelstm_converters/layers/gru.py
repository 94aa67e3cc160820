"""GRU entries. PyTorch orders the gates r, z, n; Keras and ONNX z, r, h.

All three compute h' = (1 - z) * n + z * h. They differ in where the reset gate acts: PyTorch and
Keras with `reset_after=True` reset the product R h + b (`linear_before_reset=1`), Keras with
`reset_after=False` and ONNX by default reset h before the product (`linear_before_reset=0`).
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelstm.errors import InputError
from edgelstm.graph.ir import Attr
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.recurrent import Cell, add_recurrent


def _attrs(entry: Entry, biases: Sequence[FloatArray | None]) -> dict[str, Attr]:
    keys = [key for key in ("linear_before_reset", "reset_after") if entry.value(key) is not None]
    if len(keys) > 1:
        raise InputError(f"{entry.where}: linear_before_reset and reset_after say the same: give one of them")
    given = entry.flag(keys[0]) if keys else None
    if entry.layout == "torch":
        return {"linear_before_reset": int(given if given is not None else True)}
    if entry.layout == "keras" and biases[0] is not None:
        after = biases[0].ndim == 2
        if given is not None and given != after:
            raise InputError(
                f"{entry.where}: {keys[0]}: declared {given}, but a bias of shape {biases[0].shape} is that of a GRU "
                f"with reset_after={after}"
            )
        return {"linear_before_reset": int(after)}
    if given is None:
        key = "reset_after" if entry.layout == "keras" else "linear_before_reset"
        raise InputError(f"{entry.where}: {key}: expected True or False, got nothing: the arrays do not say it")
    return {"linear_before_reset": int(given)}


GRU = Cell(
    op="gru",
    title="GRU",
    torch_order=(1, 0, 2),
    keras_order=(0, 1, 2),
    functions=(("recurrent_activation", "sigmoid"), ("activation", "tanh")),
    attrs=_attrs,
)


def add_gru(entry: Entry, to: ChainBuilder) -> None:
    """Appends a GRU entry ("gru", or "gru_cell" for the arrays of one cell)."""
    add_recurrent(GRU, entry, to)
