"""RNN entries: h' = f(W x + R h + b). The function f (tanh or relu in PyTorch) is not among the arrays."""

from __future__ import annotations

from collections.abc import Sequence

from edgelstm.graph.ir import Attr
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.recurrent import Cell, add_recurrent


def _attrs(entry: Entry, biases: Sequence[FloatArray | None]) -> dict[str, Attr]:
    return {}


RNN = Cell(op="rnn", title="RNN", torch_order=(0,), keras_order=(0,), functions=(("activation", None),), attrs=_attrs)


def add_rnn(entry: Entry, to: ChainBuilder) -> None:
    """Appends an RNN entry ("rnn", or "rnn_cell" for the arrays of one cell); its activation must be given."""
    add_recurrent(RNN, entry, to)
