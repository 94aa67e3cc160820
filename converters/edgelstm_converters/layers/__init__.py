"""Layers given by hand: what `layers=[...]` may hold, one file for each kind.

A kind is a function that reads one `Entry` and appends nodes to a `ChainBuilder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgelstm_converters.layers.activation import add_activation
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.conv1d import add_conv1d
from edgelstm_converters.layers.embedding import add_embedding
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.feature_conv1d import add_feature_conv1d
from edgelstm_converters.layers.gru import add_gru
from edgelstm_converters.layers.layer_norm import add_layer_norm
from edgelstm_converters.layers.linear import add_linear
from edgelstm_converters.layers.lstm import add_lstm
from edgelstm_converters.layers.pool import add_pool
from edgelstm_converters.layers.rnn import add_rnn

KINDS: Mapping[str, Callable[[Entry, ChainBuilder], None]] = {
    "lstm": add_lstm,
    "gru": add_gru,
    "rnn": add_rnn,
    "lstm_cell": add_lstm,
    "gru_cell": add_gru,
    "rnn_cell": add_rnn,
    "linear": add_linear,
    "embedding": add_embedding,
    "layer_norm": add_layer_norm,
    "conv1d": add_conv1d,
    "feature_conv1d": add_feature_conv1d,
    "activation": add_activation,
    "pool": add_pool,
}
