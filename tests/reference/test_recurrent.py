"""The recurrent cells against ONNX Runtime, against torch.nn, and against what must hold of any cell."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgelstm.reference import evaluate, trace
from tests.cells import ALPHA_BETA, GATES, calm, cells, make_cell
from tests.coverage import STORED


def run(cell, dtype=np.float64):
    return evaluate(cell.node, cell.cast(dtype))


# --- ONNX Runtime -----------------------------------------------------------------------------------


def onnxruntime_outputs(cell):
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    helper = onnx.helper
    node = cell.node
    names = list(node.inputs[: 8 if node.op == "lstm" else 6])  # what ONNX knows
    attrs = {key: value for key, value in node.attrs.items() if key not in STORED}  # how weights are stored
    if not attrs["clip"]:
        del attrs["clip"]
    # in a file each list holds values only for the activations that take one
    for k, key in enumerate(("activation_alpha", "activation_beta")):
        listed = [v for name, v in zip(attrs["activations"], attrs.pop(key), strict=True) if ALPHA_BETA[name][k]]
        if listed:
            attrs[key] = listed
    made = helper.make_node(node.op.upper(), names, list(node.outputs), **attrs)
    given_ = {name: array for name, array in zip(names, cell.arrays, strict=False) if name}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given_.items()
    ]
    outs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.outputs]
    graph = helper.make_graph([made], "g", infos, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, given_)


@settings(max_examples=200, deadline=None)
@given(cells(projections=False, shortest=1, onnx=True))
def test_agrees_with_onnxruntime(cell):
    # ONNX Runtime does not clip the input of h(C), as the specification asks: compare without clip there.
    assume(not (cell.node.op == "lstm" and cell.node.attrs["clip"]))
    # It leaves the threshold out of ThresholdedRelu, where the specification of the cells has x >= alpha.
    assume(not ("ThresholdedRelu" in cell.node.attrs["activations"] and cell.node.attrs["clip"]))
    assume(calm(cell))
    for want, got in zip(onnxruntime_outputs(cell), run(cell), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)


def test_clips_the_input_of_every_activation_of_the_lstm():
    # with h = Affine(1, 0) the output shows its own clipped input: |o * clip(C)| <= 0.25, whatever C is
    cell = make_cell("lstm", activations=("Sigmoid", "Tanh", "Affine"), alpha=(0, 0, 1.0), clip=0.25, moments=1)
    y, _, c = run(cell)
    assert np.abs(c).max() > 0.6
    assert np.abs(y).max() <= 0.25


def test_thresholded_relu_of_a_cell_includes_its_threshold():
    cell = make_cell("rnn", activations=("ThresholdedRelu",), alpha=(1.0,), clip=1.0, moments=6)
    assert set(np.unique(run(cell)[0])) == {0.0, 1.0}


def test_row_of_length_zero_keeps_its_state():
    for op in GATES:
        cell = make_cell(op, batch=2, lengths=[0, 3], direction="bidirectional")
        y, *states = run(cell)
        for state, initial in zip(states, cell.arrays[5:7], strict=False):
            np.testing.assert_array_equal(state[:, 0], initial[:, 0])
        assert not y[:, :, 0].any()
        assert not y[3:].any()


# --- torch --------------------------------------------------------------------------------------------


def reordered(array, op):
    """PyTorch's gates (i f g o; r z n) in ONNX's order (i o f c; z r h), rows first."""
    order = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}[op]
    parts = np.split(array, GATES[op])
    return np.concatenate([parts[k] for k in order])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("op", "extra"), [("rnn", {}), ("gru", {}), ("lstm", {}), ("lstm", {"proj_size": 4})])
def test_agrees_with_torch(op, extra, bias, bidirectional):
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[op]
    module = kind(3, 6, bias=bias, bidirectional=bidirectional, **extra).double()
    count = 2 if bidirectional else 1
    out = extra.get("proj_size", 6)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    h0 = torch.randn(count, 2, out, dtype=torch.float64)
    c0 = torch.randn(count, 2, 6, dtype=torch.float64)
    with torch.no_grad():
        y, last = module(x, (h0, c0)) if op == "lstm" else module(x, h0)

    arrays = {name: value.detach().numpy() for name, value in module.named_parameters()}
    suffixes = ["", "_reverse"][:count]

    def stack(kind, *parts):
        return np.stack([np.concatenate([reordered(arrays[f"{p}_l0{s}"], op) for p in parts]) for s in suffixes])

    inputs = [x.numpy(), stack(op, "weight_ih"), stack(op, "weight_hh")]
    inputs += [stack(op, "bias_ih", "bias_hh") if bias else None, None, h0.numpy()]
    if op == "lstm":
        inputs += [c0.numpy(), None]
        inputs += [np.stack([arrays[f"weight_hr_l0{s}"] for s in suffixes]) if extra else None]
    attrs = {"linear_before_reset": 1} if op == "gru" else {}
    node = make_cell(op, hidden=6, direction="bidirectional" if bidirectional else "forward", **attrs).node
    got = evaluate(node, inputs)
    np.testing.assert_allclose(np.concatenate([got[0][:, d] for d in range(count)], -1), y.numpy(), atol=1e-12)
    for value, want in zip(got[1:], last if op == "lstm" else [last], strict=True):
        np.testing.assert_allclose(value, want.numpy(), atol=1e-12)


# --- what must hold ---------------------------------------------------------------------------------------


def test_chung_form_of_the_gru_is_this_cell_with_the_z_row_negated():
    rng = np.random.default_rng(1)
    (w_z, w_r, w_n), (r_z, r_r, r_n) = rng.normal(size=(3, 4, 3)), rng.normal(size=(3, 4, 4))
    x = rng.normal(size=(6, 1, 3))

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    h, expected = np.zeros(4), []
    for t in range(6):  # Chung et al. 2014, equations (5) to (8)
        z = sigmoid(w_z @ x[t, 0] + r_z @ h)
        r = sigmoid(w_r @ x[t, 0] + r_r @ h)
        n = np.tanh(w_n @ x[t, 0] + r_n @ (r * h))
        h = (1 - z) * h + z * n
        expected.append(h)
    node = make_cell("gru", hidden=4, linear_before_reset=0).node
    w, r = np.concatenate([-w_z, w_r, w_n])[None], np.concatenate([-r_z, r_r, r_n])[None]
    np.testing.assert_allclose(evaluate(node, [x, w, r])[0][:, 0, 0], expected, atol=1e-14)


@settings(max_examples=60, deadline=None)
@given(cells(), st.data())
def test_stepping_is_the_whole_run(cell, data):
    """Bit for bit, in float32: the state carries everything."""
    assume(cell.node.attrs["direction"] == "forward" and cell.arrays[4] is None)
    whole = run(cell, np.float32)
    arrays, split = list(cell.cast(np.float32)), data.draw(st.integers(0, len(cell.arrays[0])))
    x = arrays[0]
    arrays[0] = x[:split]
    keep = arrays[-1]
    arrays[-1] = None if keep is None else keep[:split]
    first = evaluate(cell.node, arrays)
    arrays[0] = x[split:]
    arrays[-1] = None if keep is None else keep[split:]
    arrays[5 : 5 + len(first) - 1] = first[1:]
    second = evaluate(cell.node, arrays)
    np.testing.assert_array_equal(np.concatenate([first[0], second[0]]), whole[0])
    for a, b in zip(second[1:], whole[1:], strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=60, deadline=None)
@given(cells())
def test_lengths_cut_every_row(cell):
    """A row with a length is that row alone at that length, and nothing past it is read."""
    arrays = list(cell.cast(np.float64))
    lengths = arrays[4]
    assume(lengths is not None)
    for b, length in enumerate(lengths):
        arrays[0][length:, b] = np.nan
    y, *states = evaluate(cell.node, arrays)
    for b, length in enumerate(lengths):
        alone = list(arrays)
        alone[0] = arrays[0][:length, b : b + 1]
        alone[4] = None
        alone[-1] = None if arrays[-1] is None else arrays[-1][:length, b : b + 1]
        for k in (5, 6):
            if k < len(alone) and alone[k] is not None:
                alone[k] = arrays[k][:, b : b + 1]
        want, *last = evaluate(cell.node, alone)
        np.testing.assert_allclose(y[:length, :, b], want[:, :, 0], atol=1e-12)
        assert not y[length:, :, b].any()
        for state, one in zip(states, last, strict=True):
            np.testing.assert_allclose(state[:, b], one[:, 0], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(cells())
def test_kept_steps_are_left_out(cell):
    """A row with steps kept is that row alone without those steps; y repeats the output before."""
    arrays = list(cell.cast(np.float64))
    keep = arrays[-1]
    assume(keep is not None and arrays[4] is None and cell.node.attrs["direction"] == "forward")
    arrays[0][keep] = np.nan
    y, *states = evaluate(cell.node, arrays)
    for b in range(keep.shape[1]):
        alone = list(arrays)
        alone[0], alone[-1] = arrays[0][~keep[:, b], b : b + 1], None
        for k in (5, 6) if cell.node.op == "lstm" else (5,):
            alone[k] = None if alone[k] is None else arrays[k][:, b : b + 1]
        want, *last = evaluate(cell.node, alone)
        start = np.zeros_like(states[0][:, b]) if arrays[5] is None else arrays[5][:, b]
        taken = np.cumsum(~keep[:, b])
        for t, count in enumerate(taken):
            np.testing.assert_allclose(y[t, :, b], want[count - 1, :, 0] if count else start, atol=1e-12)
        for state, one in zip(states, last, strict=True):
            np.testing.assert_allclose(state[:, b], one[:, 0], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(cells())
def test_dtype_follows_the_input(cell):
    for value in run(cell, np.float32):
        assert value.dtype == np.float32
    for value in run(cell, np.float64):
        assert value.dtype == np.float64


@pytest.mark.parametrize(("op", "names"), [("rnn", "h"), ("gru", "z r n h"), ("lstm", "i o f g c h")])
def test_trace_records_gates_and_states(op, names):
    cell = make_cell(op, direction="bidirectional", lengths=[2, 4], moments=4)
    outputs, seen = trace(cell.node, cell.cast(np.float64))
    assert set(seen) == set(names.split())
    for value in seen.values():
        assert value.shape == (4, 2, 2, 5)
        assert not value[2:, :, 0].any()
    np.testing.assert_array_equal(seen["h"], outputs[0])
    if op == "gru":
        before = np.concatenate([cell.arrays[5][0][None], seen["h"][:-1, 0]])
        np.testing.assert_allclose(
            seen["h"][:, 0, 1], ((1 - seen["z"]) * seen["n"])[:, 0, 1] + (seen["z"][:, 0] * before)[:, 1]
        )
    if op == "lstm":
        before = np.concatenate([cell.arrays[6][0][None], seen["c"][:-1, 0]])
        np.testing.assert_allclose(
            seen["c"][:, 0, 1], (seen["i"] * seen["g"])[:, 0, 1] + (seen["f"][:, 0] * before)[:, 1]
        )


def test_trace_of_no_moments():
    _, seen = trace(make_cell("gru").node, make_cell("gru", moments=0).arrays)
    assert seen == {}
