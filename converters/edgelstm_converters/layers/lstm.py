"""LSTM entries. PyTorch orders the gates i, f, g, o; Keras i, f, c, o; ONNX i, o, f, c."""

from __future__ import annotations

from collections.abc import Sequence

from edgelstm.graph.ir import Attr
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.recurrent import Cell, add_recurrent


def _attrs(entry: Entry, biases: Sequence[FloatArray | None]) -> dict[str, Attr]:
    return {"input_forget": int(entry.flag("input_forget", False) or 0)}


LSTM = Cell(
    op="lstm",
    title="LSTM",
    torch_order=(0, 3, 1, 2),
    keras_order=(0, 3, 1, 2),
    functions=(("recurrent_activation", "sigmoid"), ("activation", "tanh"), ("output_activation", "tanh")),
    attrs=_attrs,
)


def add_lstm(entry: Entry, to: ChainBuilder) -> None:
    """Appends an LSTM entry ("lstm", or "lstm_cell" for the arrays of one cell)."""
    add_recurrent(LSTM, entry, to)
