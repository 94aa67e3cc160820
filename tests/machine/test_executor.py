"""Calls on a program in the machine: statuses, the floating-point mode, threads, allocations."""

import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.machine import context as slots
from edgelstm.machine import executor
from edgelstm.machine.executor import Machine
from edgelstm.machine.jit import warmup
from edgelstm.program.lowering import lower
from edgelstm.program.status import BUSY, INDEX, INVALID, KIND, OK, SIZE

PLAIN = {"activations": ("sigmoid", "tanh", "tanh"), "activation_alpha": (0.0,) * 3, "activation_beta": (0.0,) * 3}


def layer(inputs=3, hidden=5, more=(), outputs=None, extra=None):
    """One LSTM step that carries its state, and further nodes."""
    rng = np.random.default_rng(1)
    weights = {"w": (1, 4 * hidden, inputs), "r": (1, 4 * hidden, hidden), "b": (1, 8 * hidden)}
    constants = {name: rng.uniform(-0.5, 0.5, shape).astype(np.float32) for name, shape in weights.items()}
    sizes = {"x": (1, 1, inputs), "h0": (1, 1, hidden), "c0": (1, 1, hidden)}
    types = {name: TensorType("float32", shape) for name, shape in sizes.items()}
    node = make_node("lstm", ["x", "w", "r", "b", "", "h0", "c0"], ["y", "h", "c"], hidden_size=hidden, **PLAIN)
    table, given = extra or ({}, {})
    states = (State("h0", "h"), State("c0", "c"))
    return Graph(types | given, outputs or {"y": "y"}, (node, *more), constants | table, states)


@pytest.fixture(params=["direct", "copied"])
def machine(request, monkeypatch):
    """With arrays read by the compiled code, and copied where it does not know how they lie in memory."""
    compiled = warmup()
    assert compiled.direct
    if request.param == "copied":
        monkeypatch.setattr(executor, "_jit", lambda: replace(compiled, direct=False))
    return Machine(lower(layer()))


def readings(count, width=3, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def test_step_run_and_execute_give_the_same_bits(machine):
    xs = readings(20)
    ys = np.empty((20, 5), np.float32)
    assert machine.run(xs, ys) == (OK, 20)
    final = machine.arenas.state.copy()
    for call in (machine.execute, machine.execute_released):
        machine.arenas.state[:] = 0
        for x, expected in zip(xs, ys, strict=True):
            machine.arenas.inputs["x"][...] = x
            assert call(True) == OK
            np.testing.assert_array_equal(machine.arenas.outputs["y"].ravel(), expected)
    machine.arenas.state[:] = 0
    y = np.empty(5, np.float32)
    for x, expected in zip(xs, ys, strict=True):
        assert machine.step(x, y) == OK
        np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(machine.arenas.state, final)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_invalid_readings_change_nothing(width, value):
    machine = Machine(lower(layer(width)))
    y = np.full(5, 7, np.float32)
    for place in {0, width // 2, width - 1}:
        x = readings(1, width)[0]
        assert machine.step(x, y) == OK
        before, shown = machine.arenas.state.copy(), y.copy()
        x[place] = value
        assert machine.step(x, y) == INVALID
        machine.arenas.inputs["x"][...] = x
        assert machine.execute(True) == INVALID
        assert machine.run(np.stack([x, x]), np.empty((2, 5), np.float32)) == (INVALID, 0)
        np.testing.assert_array_equal(machine.arenas.state, before)
        np.testing.assert_array_equal(y, shown)
    machine.set_check(False)
    assert machine.step(x, y) == OK
    assert np.isnan(machine.arenas.states["h0"]).any() or not np.isnan(value)


def test_run_stops_at_the_first_invalid_row(machine):
    xs, ys = readings(6), np.zeros((6, 5), np.float32)
    xs[4, 1] = np.nan
    assert machine.run(xs, ys) == (INVALID, 4)
    assert ys[:4].any(axis=1).all()
    assert not ys[4:].any()


def test_wrong_sizes_and_types_do_nothing(machine):
    x, y = readings(1)[0], np.zeros(5, np.float32)
    assert machine.step(x[:2], y) == SIZE
    assert machine.step(x, y[:4]) == SIZE
    assert machine.run(readings(3), np.zeros((2, 5), np.float32))[0] == SIZE
    assert machine.run(readings(3, 4), np.zeros((3, 5), np.float32))[0] == SIZE
    frozen = y.copy()
    frozen.flags.writeable = False
    for bad in (
        [x.astype(np.float64), y],
        [x, y.astype(np.int32)],
        [x[None], y],
        [readings(3)[:, 0], y],
        [x, frozen],
        [None, y],
        [3, y],
        [x, [0.0]],
        [x.astype(">f4"), y],
    ):
        assert machine.step(*bad) == KIND
    assert not machine.arenas.state.any()
    assert not y.any()


def test_a_busy_executor_refuses_every_call(machine):
    machine._context[slots.BUSY] = 1
    x, y = readings(1)[0], np.zeros(5, np.float32)
    assert machine.step(x, y) == machine.execute(True) == machine.execute_released(True) == BUSY
    assert machine.run(x[None], y[None])[0] == BUSY
    machine._context[slots.BUSY] = 0
    assert machine.step(x, y) == OK


def test_denormals_are_flushed_inside_and_the_callers_mode_comes_back(machine):
    machine.arenas.states["c0"][...] = 1e-39
    machine.arenas.states["h0"][...] = 1e-39
    y = np.empty(5, np.float32)
    assert machine.step(np.zeros(3, np.float32), y) == OK
    tiny = np.full(4, 1e-30, np.float32)
    assert (tiny * np.float32(1e-10) > 0).all()
    graph = Graph(
        {"a": TensorType("float32", (4,))},
        {"y": "y"},
        (make_node("mul", ["a", "f"], ["y"]),),
        {"f": np.float32([1e-10])},
    )
    product = Machine(lower(graph))
    product.arenas.inputs["a"][...] = tiny
    assert product.execute(True) == OK
    assert not product.arenas.outputs["y"].any()
    assert (tiny * np.float32(1e-10) > 0).all()


def test_an_index_out_of_range_leaves_the_state_as_it_was():
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    gather = make_node("gather", ["table", "index"], ["row"], axis=0)
    extra = ({"table": table}, {"index": TensorType("int64", (1,))})
    machine = Machine(lower(layer(more=(gather,), outputs={"y": "y", "row": "row"}, extra=extra)))
    machine.arenas.inputs["x"][...] = 1
    machine.arenas.inputs["index"][...] = 2
    assert machine.execute(True) == OK
    np.testing.assert_array_equal(machine.arenas.outputs["row"], table[2:])
    before = machine.arenas.state.copy()
    machine.arenas.inputs["index"][...] = 3
    assert machine.execute(True) == machine.execute_released(True) == INDEX
    np.testing.assert_array_equal(machine.arenas.state, before)


def test_run_lets_other_threads_run():
    machine = Machine(lower(layer(16, 128)))
    xs, ys = readings(200_000, 16), np.empty((200_000, 128), np.float32)
    started, seen = threading.Event(), []
    thread = threading.Thread(target=lambda: (started.set(), seen.append(machine.run(xs, ys))))
    thread.start()
    started.wait()
    turns = 0
    while not seen:
        turns += 1
    thread.join()
    assert turns > 10  # holding the GIL, the call would leave a handful at most
    assert seen == [(OK, 200_000)]


def test_two_threads_never_share_an_executor():
    machine = Machine(lower(layer(16, 64)))
    xs = readings(20_000, 16)
    answers = []

    def work():
        answers.extend(machine.run(xs, np.empty((len(xs), 64), np.float32)) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} <= {OK, BUSY}
    assert (OK, len(xs)) in answers


def test_a_step_allocates_nothing():
    machine = Machine(lower(layer()))
    x, y, step = readings(1)[0], np.empty(5, np.float32), machine.step
    step(x, y)
    _nrt_python.memsys_enable_stats()
    tracemalloc.start()
    try:
        before, python = rtsys.get_allocation_stats(), tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            step(x, y)
        after, grown = rtsys.get_allocation_stats(), tracemalloc.get_traced_memory()[0] - python
    finally:
        tracemalloc.stop()
        _nrt_python.memsys_disable_stats()
    assert after == before
    assert grown < 500  # the loop's own variables
