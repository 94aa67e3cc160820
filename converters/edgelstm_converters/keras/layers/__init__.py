"""Layers of Keras by class name: each reads its config and arrays and appends nodes to the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import Layer
from edgelstm_converters.keras.layers import (
    activation,
    conv,
    dense,
    mask,
    norm,
    pool,
    recurrent,
    shape,
    time_distributed,
)

Handler = Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]

LAYERS: Mapping[str, Handler] = {
    **recurrent.HANDLERS,
    **dense.HANDLERS,
    **activation.HANDLERS,
    **conv.HANDLERS,
    **pool.HANDLERS,
    **norm.HANDLERS,
    **shape.HANDLERS,
    **time_distributed.HANDLERS,
    **mask.HANDLERS,
}

# What to do about classes that people use and that are not taken.
ADVICE: Mapping[str, str] = {
    "Lambda": "its code is never run; replace it by Keras's own layers (Rescaling, Reshape, Activation...)",
    "RNN": "use LSTM, GRU or SimpleRNN in place of RNN(cell)",
    "CuDNNLSTM": "load it in Keras and save it with an LSTM layer",
    "CuDNNGRU": "load it in Keras and save it with a GRU layer",
    "TFOpLambda": "a bare operation between layers: use a layer (Add, Concatenate, Reshape...) in its place",
    "SlicingOpLambda": "a slice between layers: use Cropping1D, or return_sequences=False for the last step",
}

# Classes that take several tensors; start states are further inputs of a recurrent layer.
SEVERAL = (
    *recurrent.HANDLERS, "Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum",
)  # fmt: skip
