"""The architecture is inferred where names and shapes leave one reading, and asked back with a list elsewhere."""

import ast
import re

import numpy as np
import pytest
from edgelstm_converters.arrays import arrays_to_graph

from edgelstm.errors import EdgeLSTMError, InputError
from tests.converters.evaluate import evaluate


def zeros(**shapes):
    """Arrays of zeros; a double underscore in a name stands for a dot."""
    return {name.replace("__", "."): np.zeros(shape, np.float32) for name, shape in shapes.items()}


def module(prefix="net", gates=4, inputs=3, units=5, suffixes=("_l0",), proj=0):
    out, arrays = proj or units, {}
    for suffix in suffixes:
        width = inputs if suffix.startswith("_l0") or not suffix else out * (2 if "_l0_reverse" in suffixes else 1)
        arrays |= {
            f"{prefix}.weight_ih{suffix}": (gates * units, width),
            f"{prefix}.weight_hh{suffix}": (gates * units, out),
            f"{prefix}.bias_ih{suffix}": (gates * units,),
            f"{prefix}.bias_hh{suffix}": (gates * units,),
        }
        if proj:
            arrays[f"{prefix}.weight_hr{suffix}"] = (proj, units)
    return {name.lstrip("."): np.zeros(shape, np.float32) for name, shape in arrays.items()}


def linear(prefix="fc", outputs=2, inputs=5, bias=True):
    arrays = {f"{prefix}.weight": np.zeros((outputs, inputs), np.float32)}
    return {**arrays, f"{prefix}.bias": np.zeros(outputs, np.float32)} if bias else arrays


def ops(graph):
    return [node.op for node in graph.nodes if node.op in ("lstm", "gru", "rnn", "linear")]


def suggested(error):
    """The list in a refusal, which must be readable as Python."""
    text = str(error.value)
    return ast.literal_eval(re.sub(r"#.*", "", text[text.index("\nlayers=[") + len("\nlayers=") :]))


BOTH = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (module(prefix=""), ["lstm"]),
        (module("a.b.c"), ["lstm"]),
        (module(gates=3), ["gru"]),
        (module(suffixes=("_l0", "_l1", "_l2")), ["lstm"] * 3),
        (module(suffixes=BOTH), ["lstm"] * 2),
        (module(proj=2), ["lstm"]),
        (module(proj=2, suffixes=BOTH), ["lstm"] * 2),
        (module(suffixes=("",)), ["lstm"]),
        (module(gates=3, suffixes=("",)), ["gru"]),
        ({**module(), **linear()}, ["lstm", "linear"]),
        ({**linear("a"), **module()}, ["lstm", "linear"]),
        ({**module(), **linear(bias=False)}, ["lstm", "linear"]),
        ({**module(suffixes=BOTH), **linear(inputs=10)}, ["lstm", "lstm", "linear"]),
        ({**module(inputs=1, units=8), **linear(outputs=1, inputs=8)}, ["lstm", "linear"]),
    ],
)
def test_one_reading(arrays, expected):
    made = arrays_to_graph(arrays)
    assert expected == ops(made.graph)
    width = next(value.shape[1] for name, value in arrays.items() if "weight_ih" in name)
    assert evaluate(made.graph, np.zeros((2, 3, width), np.float32)).shape[:2] == (2, 3)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        (module(gates=1), "tanh or relu"),
        (module(gates=1, suffixes=("",)), "tanh or relu"),
        ({**module("a"), **module("b", inputs=5)}, r"2 recurrent modules \('a', 'b'\)"),
        (linear(), "no recurrent module"),
        ({**module(), **linear("a"), **linear("b", inputs=2)}, r"2 modules stand beside the recurrent one"),
        ({**module(), **linear(inputs=4)}, "'fc' reads 4 features, not the 5 that 'net' gives"),
        ({**module(inputs=5), **linear(outputs=5)}, "'fc' fits before 'net' as well as after it"),
        ({**module(inputs=5), **linear(bias=False)}, "a Linear after or an embedding before"),
        ({**module(), **zeros(norm__weight=(5,), norm__bias=(5,))}, "'norm' is not a Linear"),
        ({**module(), **zeros(conv__weight=(3, 3, 2), conv__bias=(3,))}, "'conv' is not a Linear"),
        ({**module(), **zeros(bn__running_mean=(5,))}, "'bn.running_mean'"),
        (zeros(weight_ih_l0=(10, 3), weight_hh_l0=(10, 5)), "no LSTM, GRU or RNN"),
    ],
)
def test_more_readings_are_asked_back(arrays, why):
    with pytest.raises(InputError, match=why) as error:
        arrays_to_graph(arrays)
    assert "pass layers=[...]" in str(error.value)
    suggested(error)


@pytest.mark.parametrize("layout", ["keras", "onnx"])
def test_other_layouts_do_not_name_their_functions(layout):
    keras = zeros(kernel=(3, 20), recurrent_kernel=(5, 20), bias=(20,))
    onnx = zeros(W=(1, 20, 3), R=(1, 20, 5))
    with pytest.raises(InputError, match="do not say which activations") as error:
        arrays_to_graph(keras if layout == "keras" else onnx, layout=layout)
    assert [entry["kind"] for entry in suggested(error)] == ["lstm"]


def test_the_list_to_write_names_every_array_and_leaves_choices_open():
    arrays = {
        **zeros(emb__weight=(30, 3)),
        **module("enc.rnn", gates=1),
        **module("dec", gates=3, inputs=5),
        **linear("head.0"),
    }
    with pytest.raises(InputError) as error:
        arrays_to_graph(arrays)
    layers = suggested(error)
    assert layers == [
        {"kind": "?", "arrays": "emb"},
        {"kind": "rnn", "arrays": "enc.rnn", "activation": "?"},
        {"kind": "gru", "arrays": "dec"},
        {"kind": "linear", "arrays": "head.0", "activation": "?"},
    ]
    with pytest.raises(EdgeLSTMError, match=r"kind: expected one of .*, got '\?'"):
        arrays_to_graph(arrays, layers)
    layers[0]["kind"] = "embedding"
    with pytest.raises(InputError, match=r"layers\[1\].*'activation' is still open"):
        arrays_to_graph(arrays, layers)
    layers[1]["activation"] = "relu"
    layers[3]["activation"] = None
    assert ops(arrays_to_graph(arrays, layers).graph) == ["rnn", "gru", "linear"]


def test_keras_names_are_suggested_by_layer():
    arrays = {
        "bi/forward_gru/gru_cell/kernel:0": np.zeros((3, 15), np.float32),
        "bi/forward_gru/gru_cell/recurrent_kernel:0": np.zeros((5, 15), np.float32),
        "bi/backward_gru/gru_cell/kernel:0": np.zeros((3, 15), np.float32),
        "bi/backward_gru/gru_cell/recurrent_kernel:0": np.zeros((5, 15), np.float32),
        "dense/kernel:0": np.zeros((10, 2), np.float32),
        "dense/bias:0": np.zeros(2, np.float32),
    }
    with pytest.raises(InputError) as error:
        arrays_to_graph(arrays, layout="keras")
    layers = suggested(error)
    assert [(entry["kind"], entry["arrays"]) for entry in layers] == [("gru", "bi"), ("linear", "dense")]
    layers[0] |= {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True}
    layers[1]["activation"] = None
    assert ops(arrays_to_graph(arrays, layers, "keras").graph) == ["gru", "linear"]
