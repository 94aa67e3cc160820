"""Every recurrent module of PyTorch gives from its arrays what it gives in torch."""

import numpy as np
import pytest
from edgelstm_converters.arrays import arrays_to_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.errors import InputError
from tests.converters.evaluate import evaluate
from tests.support import require_module

torch = require_module("torch")
torch.set_num_threads(1)

TOLERANCE = 2e-6
CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}


def readings(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def outputs(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x))


@st.composite
def modules(draw):
    kind = draw(st.sampled_from(["lstm", "gru", "rnn"]))
    hidden = draw(st.integers(1, 20))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "batch_first": True,
    }
    if kind == "rnn":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "lstm" and hidden > 1 and draw(st.booleans()):
        options["proj_size"] = draw(st.integers(1, hidden - 1))
    return kind, draw(st.integers(1, 9)), hidden, options


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@settings(max_examples=150, deadline=None)
@given(modules(), st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 6))
def test_modules_of_random_sizes(spec, seed, batch, length):
    kind, inputs, hidden, options = spec
    torch.manual_seed(seed)
    module = getattr(torch.nn, kind.upper())(inputs, hidden, **options)
    layers = None
    if kind == "rnn":
        layers = [{"kind": "rnn", "arrays": "cell", "activation": options["nonlinearity"]}]
    made = arrays_to_graph({f"cell.{name}": value for name, value in module.state_dict().items()}, layers)
    x = readings(np.random.default_rng(seed), batch, length, inputs)
    expected = outputs(module, x)[0].numpy()
    np.testing.assert_allclose(evaluate(made.graph, x), expected, rtol=0, atol=TOLERANCE * max(1, abs(expected).max()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_cell_modules_run_over_a_sequence(kind, bias):
    torch.manual_seed(1)
    cell, x = CELLS[kind](3, 5, bias=bias), readings(np.random.default_rng(1), 2, 6, 3)
    state, expected = None, []
    for t in range(x.shape[1]):
        with torch.no_grad():
            state = cell(torch.from_numpy(x[:, t]), state)
        expected.append((state[0] if kind == "lstm" else state).numpy())
    layers = [{"kind": "rnn_cell", "arrays": "", "activation": "tanh"}] if kind == "rnn" else None
    y = evaluate(arrays_to_graph(cell.state_dict(), layers).graph, x)
    np.testing.assert_allclose(y, np.stack(expected, 1), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_linear_after_the_cells_is_inferred(kind, bidirectional):
    torch.manual_seed(2)
    cells = getattr(torch.nn, kind)(3, 6, 2, bidirectional=bidirectional, batch_first=True)
    head = torch.nn.Linear(12 if bidirectional else 6, 2)
    model = torch.nn.ModuleDict({"net": cells, "head": head})
    x = readings(np.random.default_rng(2), 2, 5, 3)
    made = arrays_to_graph(model.state_dict())
    with torch.no_grad():
        expected = head(cells(torch.from_numpy(x))[0]).numpy()
    np.testing.assert_allclose(evaluate(made.graph, x), expected, rtol=0, atol=TOLERANCE)
    assert any("assumed" in line and "'head' is a Linear after it" in line for line in made.report)


@pytest.mark.parametrize(
    ("back", "pick"),
    [
        ("sequences", lambda y, h: y),
        ("last_step", lambda y, h: y[:, -1]),
        ("final_state", lambda y, h: torch.cat([h[-2], h[-1]], -1)),
    ],
)
def test_what_a_bidirectional_layer_returns(back, pick):
    torch.manual_seed(3)
    module, x = torch.nn.GRU(3, 4, 2, bidirectional=True, batch_first=True), readings(np.random.default_rng(3), 2, 5, 3)
    layers = [{"kind": "gru", "arrays": "", "return": back}]
    y = evaluate(arrays_to_graph(module.state_dict(), layers).graph, x)
    np.testing.assert_allclose(y, pick(*outputs(module, x)).numpy(), rtol=0, atol=TOLERANCE)


def test_the_last_of_one_direction_is_its_final_state():
    module, x = torch.nn.LSTM(3, 4, batch_first=True), readings(np.random.default_rng(4), 2, 5, 3)
    whole = outputs(module, x)[0].numpy()[:, -1]
    for back in ("last", "last_step", "final_state"):
        made = arrays_to_graph(module.state_dict(), [{"kind": "lstm", "arrays": "", "return": back}])
        np.testing.assert_allclose(evaluate(made.graph, x), whole, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("pool", ["last", "first", "mean", "max"])
@pytest.mark.parametrize("after_linear", [False, True])
def test_pooling_over_time(pool, after_linear):
    torch.manual_seed(5)
    cells, head = torch.nn.LSTM(3, 4, batch_first=True), torch.nn.Linear(4, 2)
    x = readings(np.random.default_rng(5), 2, 5, 3)
    pools = {
        "last": lambda v: v[:, -1],
        "first": lambda v: v[:, 0],
        "mean": lambda v: v.mean(1),
        "max": lambda v: v.amax(1),
    }
    with torch.no_grad():
        y = torch.relu(head(cells(torch.from_numpy(x))[0])) if after_linear else cells(torch.from_numpy(x))[0]
        expected = (pools[pool](y) if after_linear else torch.relu(head(pools[pool](y)))).numpy()
    linear, pooling = {"kind": "linear", "arrays": "head", "activation": "relu"}, {"kind": "pool", "pool": pool}
    layers = [{"kind": "lstm", "arrays": "net"}, *([linear, pooling] if after_linear else [pooling, linear])]
    arrays = torch.nn.ModuleDict({"net": cells, "head": head}).state_dict()
    np.testing.assert_allclose(evaluate(arrays_to_graph(arrays, layers).graph, x), expected, rtol=0, atol=TOLERANCE)


def test_convolution_norm_and_functions_between():
    torch.manual_seed(6)
    conv = torch.nn.Conv1d(4, 6, 3, padding=2, dilation=2, groups=2)
    norm, cells, head = torch.nn.LayerNorm(6), torch.nn.GRU(6, 5, batch_first=True), torch.nn.Linear(5, 3)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = readings(np.random.default_rng(6), 2, 9, 4)
    with torch.no_grad():
        z = torch.nn.functional.leaky_relu(conv(torch.from_numpy(x).transpose(1, 2)).transpose(1, 2))
        z = torch.nn.functional.hardsigmoid(norm(z))
        expected = torch.softmax(head(cells(z)[0]), -1).numpy()
    layers = [
        {"kind": "conv1d", "arrays": "conv", "padding": 2, "dilation": 2, "groups": 2, "activation": "leaky_relu"},
        {"kind": "layer_norm", "arrays": "norm"},
        {"kind": "activation", "activation": "hard_sigmoid"},
        {"kind": "gru", "arrays": "cells"},
        {"kind": "linear", "arrays": "head", "activation": "softmax"},
    ]
    arrays = torch.nn.ModuleDict({"conv": conv, "norm": norm, "cells": cells, "head": head}).state_dict()
    made = arrays_to_graph(arrays, layers)
    np.testing.assert_allclose(evaluate(made.graph, x), expected, rtol=0, atol=TOLERANCE)
    assert any("assumed" in line and "epsilon 1e-05" in line for line in made.report)


def test_a_causal_convolution_sees_no_future():
    conv = torch.nn.Conv1d(2, 3, 3)
    layers = [{"kind": "conv1d", "arrays": "", "padding": "causal"}]
    graph = arrays_to_graph(conv.state_dict(), layers).graph
    x = readings(np.random.default_rng(7), 1, 6, 2)
    later = x.copy()
    later[:, 4:] = 9
    np.testing.assert_array_equal(evaluate(graph, x)[:, :4], evaluate(graph, later)[:, :4])
    assert evaluate(graph, x).shape == (1, 6, 3)


def test_trained_start_states_of_every_layer_and_direction():
    torch.manual_seed(8)
    module = torch.nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True, proj_size=2)
    rng = np.random.default_rng(8)
    x, h0, c0 = readings(rng, 2, 5, 3), readings(rng, 4, 2), readings(rng, 4, 4)
    every = [torch.from_numpy(state)[:, None].expand(-1, 2, -1).contiguous() for state in (h0, c0)]
    with torch.no_grad():
        expected = module(torch.from_numpy(x), tuple(every))[0].numpy()
    layers = [{"kind": "lstm", "arrays": "", "h0": "start.h", "c0": c0[:, None]}]
    made = arrays_to_graph({**module.state_dict(), "start.h": h0}, layers)
    np.testing.assert_allclose(evaluate(made.graph, x), expected, rtol=0, atol=TOLERANCE)


def test_roles_name_arrays_of_any_name():
    module, x = torch.nn.GRU(3, 4, batch_first=True), readings(np.random.default_rng(9), 2, 5, 3)
    state = module.state_dict()
    arrays = {"enc_w_ih": state["weight_ih_l0"], "enc_w_hh": state["weight_hh_l0"], "enc_b_ih": state["bias_ih_l0"]}
    roles = {"weight_ih": "enc_w_ih", "weight_hh": "enc_w_hh", "bias_ih": "enc_b_ih", "bias_hh": state["bias_hh_l0"]}
    made = arrays_to_graph(arrays, [{"kind": "gru", "arrays": roles}])
    np.testing.assert_allclose(evaluate(made.graph, x), outputs(module, x)[0].numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_widths_become_float32_and_are_reported(dtype):
    module = torch.nn.GRU(2, 3, batch_first=True)
    state = {name: value.to(dtype) for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    made = arrays_to_graph(state)
    x = readings(np.random.default_rng(10), 1, 4, 2)
    np.testing.assert_allclose(evaluate(made.graph, x), outputs(module, x)[0].numpy(), rtol=0, atol=TOLERANCE)
    name = str(dtype).removeprefix("torch.")
    assert any(f"4 {name} arrays were" in line and "'weight_ih_l0'" in line for line in made.report)


@pytest.mark.parametrize(
    "tensor", [torch.ones(9, 2).to_sparse(), torch.ones(9, 2, device="meta"), torch.ones(9, 2, dtype=torch.int8)]
)
def test_tensors_without_plain_float_values_are_refused(tensor):
    state = torch.nn.GRU(2, 3).state_dict()
    with pytest.raises(InputError, match=r"array 'weight_ih_l0': expected"):
        arrays_to_graph({**state, "weight_ih_l0": tensor})
