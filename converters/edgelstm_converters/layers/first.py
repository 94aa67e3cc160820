"""What the input of a list of layers must be, read off the first layer that holds weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelstm.errors import InputError
from edgelstm_converters.layers.conv1d import read_kernel
from edgelstm_converters.layers.embedding import read_table
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.feature_conv1d import read_features
from edgelstm_converters.layers.gru import GRU
from edgelstm_converters.layers.linear import read_weight
from edgelstm_converters.layers.lstm import LSTM
from edgelstm_converters.layers.recurrent import Cell, read_stack
from edgelstm_converters.layers.rnn import RNN


def input_width(entries: Sequence[Entry]) -> int | None:
    """Features of one reading, or None where the model reads token ids.

    Raises:
        InputError: no entry holds weights, or the weights do not fit together.
    """
    for entry in entries:
        if entry.kind in _WIDTHS:
            return _WIDTHS[entry.kind](entry)
    raise InputError("layers: expected at least one layer that has weights")


def _cell(cell: Cell) -> Callable[[Entry], int]:
    return lambda entry: read_stack(cell, entry).inputs


def _tokens(entry: Entry) -> None:
    read_table(entry)


def _linear(entry: Entry) -> int:
    return int(read_weight(entry)[1].shape[1])


def _layer_norm(entry: Entry) -> int:
    return int(entry.need("gamma" if entry.layout == "keras" else "weight", (None,)).shape[0])


def _conv1d(entry: Entry) -> int:
    return int(read_kernel(entry)[1].shape[1]) * (entry.integer("groups", 1) or 1)


_WIDTHS: Mapping[str, Callable[[Entry], int | None]] = {
    **dict.fromkeys(("lstm", "lstm_cell"), _cell(LSTM)),
    **dict.fromkeys(("gru", "gru_cell"), _cell(GRU)),
    **dict.fromkeys(("rnn", "rnn_cell"), _cell(RNN)),
    "linear": _linear,
    "embedding": _tokens,
    "layer_norm": _layer_norm,
    "conv1d": _conv1d,
    "feature_conv1d": read_features,
}
