"""Random RNN, GRU and LSTM nodes, imported and run, against ONNX Runtime and against themselves in float64.

ONNX Runtime is a peer, not the specification. Where it departs from it, this is what edgelstm does:

* clip also bounds the input of the LSTM's last activation h(C);
* Affine, ScaledTanh and ThresholdedRelu without alpha or beta take ONNX's defaults (1 and 0; 1 and 1; 1), not 0;
* the cells' ThresholdedRelu keeps its threshold (x >= alpha);
* a row of length 0 ends with the state it started from;
* layout 1 is honoured.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from edgelstm_converters.onnx import load_onnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgelstm.graph.bind import bind
from edgelstm.program.reference import Reference
from edgelstm.runtime.inputs import solve_sizes
from tests.converters.onnx.build import model, run_graph, run_onnxruntime

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
STATES = {"RNN": ("h0",), "GRU": ("h0",), "LSTM": ("h0", "c0")}
# activation → default alpha, default beta; None where it takes none
DEFAULTS = {
    "Relu": (None, None),
    "Tanh": (None, None),
    "Sigmoid": (None, None),
    "Affine": (1.0, 0.0),
    "LeakyRelu": (0.01, None),
    "ThresholdedRelu": (1.0, None),
    "ScaledTanh": (1.0, 1.0),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0, None),
    "Softsign": (None, None),
    "Softplus": (None, None),
}
BOUNDED = ("Tanh", "Sigmoid", "HardSigmoid", "Softsign")


@dataclass
class Cell:
    """A recurrent node with an array for each input; `lists` has the activations, alpha and beta in full."""

    op: str
    attrs: dict
    lists: dict
    arrays: dict
    fed: tuple
    outputs: tuple
    opset: int

    def _roles(self):
        roles = ["x", "w", "r", "b", "lengths", *STATES[self.op], *(["p"] if self.op == "LSTM" else [])]
        return [role if role in self.arrays else "" for role in roles]

    def model(self, layout):
        """The node as the user's file has it."""
        return self._made({**self.attrs, **({"layout": 1} if layout else {})}, self.arrays_in(layout))

    def explicit(self):
        """The same for ONNX Runtime: batch second, every alpha and beta given."""
        attrs = {key: value for key, value in self.attrs.items() if not key.startswith("activation")}
        return self._made({**attrs, **self.lists}, self.arrays)

    def _made(self, attrs, arrays):
        node = helper.make_node(self.op, self._roles(), list(self.outputs), "cell", **attrs)
        inputs = {name: (list(arrays[name].shape), arrays[name].dtype.name) for name in self.fed}
        constants = {name: array for name, array in arrays.items() if name not in self.fed}
        return model([node], inputs, [name for name in self.outputs if name], constants, self.opset)

    def arrays_in(self, layout):
        """The arrays as a layout has them: 1 has the batch first in x and in the start states."""
        turned = ("x", "h0", "c0") if layout else ()
        return {
            name: np.ascontiguousarray(array.swapaxes(0, 1)) if name in turned else array
            for name, array in self.arrays.items()
        }

    def __repr__(self):
        shapes = {name: array.shape for name, array in self.arrays.items()}
        return f"Cell({self.op}, {self.attrs}, {shapes}, fed={self.fed}, outputs={self.outputs}, opset={self.opset})"


@st.composite
def cells(draw):
    op = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    moments, batch = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    size, hidden = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def floats(*shape):
        return rng.uniform(-0.6, 0.6, shape).astype(np.float32)

    arrays = {
        "x": floats(moments, batch, size),
        "w": floats(count, GATES[op] * hidden, size),
        "r": floats(count, GATES[op] * hidden, hidden),
    }
    fed = ["x"]
    if draw(st.booleans()):
        arrays["b"] = floats(count, 2 * GATES[op] * hidden)
    if draw(st.booleans()):
        arrays["lengths"] = rng.integers(1, moments + 1, batch).astype(np.int32)
        fed.append("lengths")
    for role in STATES[op]:
        if draw(st.booleans()):
            arrays[role] = floats(count, batch, hidden)
            if draw(st.booleans()):
                fed.append(role)
    if op == "LSTM" and draw(st.booleans()):
        arrays["p"] = floats(count, 3 * hidden)
    attrs, lists = draw(attributes(op, count))
    attrs["hidden_size"] = hidden
    if direction != "forward" or draw(st.booleans()):
        attrs["direction"] = direction
    names = ("y", "h", "c")[: 3 if op == "LSTM" else 2]
    outputs = tuple(name if draw(st.booleans()) else "" for name in names)
    if not any(outputs):
        outputs = names
    return Cell(op, attrs, lists, arrays, tuple(fed), outputs, draw(st.sampled_from([7, 14, 17])))


@st.composite
def attributes(draw, op, count):
    """Attributes as a file may have them, and alpha and beta in full."""
    attrs, lists = {}, {}
    if draw(st.booleans()):
        total = FUNCTIONS[op] * count
        names = draw(st.lists(st.sampled_from(sorted(DEFAULTS)), min_size=total, max_size=total))
        case = draw(st.sampled_from([str, str.lower, str.upper]))
        attrs["activations"] = [case(name) for name in names]
        for index, key in enumerate(("activation_alpha", "activation_beta")):
            defaults = [DEFAULTS[name][index] for name in names if DEFAULTS[name][index] is not None]
            some = draw(st.integers(0, len(defaults)))  # the others are left to their defaults
            values = [round(draw(st.floats(0.125, 1.25)), 3) for _ in range(some)]
            if values:
                attrs[key] = values
            if defaults:
                lists[key] = values + defaults[some:]
        lists["activations"] = names
    if draw(st.booleans()):
        attrs["clip"] = round(draw(st.floats(0.2, 3.0)), 3)
    if op == "LSTM" and draw(st.booleans()):
        attrs["input_forget"] = draw(st.integers(0, 1))
    if op == "GRU" and draw(st.booleans()):
        attrs["linear_before_reset"] = draw(st.integers(0, 1))
    return attrs, lists


def run_float64(graph, feeds):
    arrays = {name: np.asarray(feeds[name]) for name in graph.inputs}
    sizes = solve_sizes(graph.inputs, arrays, graph.frozen, graph.pinned)
    return Reference(bind(graph, sizes), "float64").call(arrays)


def turned_back(name, array, layout):
    """An output in layout 1 as layout 0 has it."""
    if not layout:
        return array
    return np.moveaxis(array, 0, 2) if name == "y" else array.swapaxes(0, 1)


@settings(max_examples=250, deadline=None)
@given(cells(), st.booleans())
def test_agrees_with_onnxruntime_and_with_float64(cell, batch_first):
    layout = batch_first and cell.opset >= 14
    names = {name.lower() for name in cell.attrs.get("activations", ())}
    graph = load_onnx(cell.model(layout)).graph
    feeds = {name: cell.arrays_in(layout)[name] for name in cell.fed}
    found, exact = run_graph(graph, feeds), run_float64(graph, feeds)
    assume(
        all(np.abs(array).max(initial=0) < 50 for array in exact.values())
    )  # growing without bounds blows up rounding
    for name, array in found.items():
        np.testing.assert_allclose(array, exact[name], rtol=1e-4, atol=1e-5)
    if cell.op == "LSTM" and "clip" in cell.attrs:
        return  # pinned below
    if "thresholdedrelu" in names and "clip" in cell.attrs:
        return  # the clipped value may be the threshold
    peer = run_onnxruntime(cell.explicit(), {name: cell.arrays[name] for name in cell.fed})
    assert list(peer) == list(found)
    for name, want in peer.items():
        np.testing.assert_allclose(turned_back(name, found[name], layout), want, rtol=2e-4, atol=2e-5)


# --- what is pinned -----------------------------------------------------------------------------------------


def rnn(activation, **attrs):
    """A cell whose output is its activation of x."""
    arrays = {"w": np.eye(3, dtype=np.float32)[None], "r": np.zeros((1, 3, 3), np.float32)}
    node = helper.make_node("RNN", ["x", "w", "r"], ["y"], "cell", hidden_size=3, activations=[activation], **attrs)
    return model([node], {"x": ["t", 1, 3]}, ["y"], arrays)


X = np.asarray([[[-2.0, 0.5, 3.0]]], np.float32)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("Affine", X), ("ScaledTanh", np.tanh(X)), ("ThresholdedRelu", np.where(X >= 1, X, 0))],
)
def test_defaults_of_alpha_and_beta(activation, expected):
    made = rnn(activation)
    result = load_onnx(made)
    np.testing.assert_allclose(run_graph(result.graph, {"x": X})["y"][:, 0], expected, rtol=1e-6)
    assert any(entry.kind == "assumed" and "alpha" in entry.subject for entry in result.report)
    assert not run_onnxruntime(made, {"x": X})["y"][X[:, None] < 0].any()  # ONNX Runtime: with 0


def test_thresholded_relu_keeps_its_threshold():
    graph = load_onnx(rnn("ThresholdedRelu", activation_alpha=[0.5])).graph
    np.testing.assert_array_equal(run_graph(graph, {"x": X})["y"][0, 0, 0], [0.0, 0.5, 3.0])


def lstm(**attrs):
    rng = np.random.default_rng(5)
    arrays = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in {"w": (1, 8, 3), "r": (1, 8, 2), "h0": (1, 2, 2), "c0": (1, 2, 2)}.items()
    }
    node = helper.make_node(
        "LSTM", ["x", "w", "r", "", "n", "h0", "c0"], ["y", "h", "c"], "cell", hidden_size=2, **attrs
    )
    inputs = {"x": ["t", 2, 3], "n": ([2], "int32")}
    return model([node], inputs, ["y", "h", "c"], arrays), arrays


def test_clip_bounds_the_input_of_the_last_activation_too():
    made, _ = lstm(clip=0.25, activations=["Sigmoid", "Tanh", "Affine"])
    feeds = {"x": np.ones((3, 2, 3), np.float32), "n": np.asarray([3, 3], np.int32)}
    found = run_graph(load_onnx(made).graph, feeds)
    assert np.abs(found["c"]).max() > 0.3
    assert np.abs(found["y"]).max() <= 0.25


def test_a_row_of_length_0_keeps_its_start_state():
    made, arrays = lstm()
    feeds = {"x": np.ones((3, 2, 3), np.float32), "n": np.asarray([0, 3], np.int32)}
    found = run_graph(load_onnx(made).graph, feeds)
    np.testing.assert_array_equal(found["h"][:, 0], arrays["h0"][:, 0])
    np.testing.assert_array_equal(found["c"][:, 0], arrays["c0"][:, 0])
    assert not found["y"][:, :, 0].any()
    assert not run_onnxruntime(made, feeds)["h"][:, 0].any()  # ONNX Runtime: zeros
