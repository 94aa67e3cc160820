"""`threads=` of streams, of predict and of the command line: the same bits as one thread, and threads that end."""

import gc
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import edgelstm
from edgelstm.errors import InputError, StreamError
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.machine import team, threshold
from edgelstm.runtime.model import Model
from tests.cells import GATES, PLAIN
from tests.runtime import models
from tests.threads import eager, helpers, wait_until

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(not team.possible(), reason="this system has no unnamed semaphores")
__all__ = ["eager"]
INPUTS = 5


def layers(op, hidden, count=1, direction="forward", seed=0, plain=True):
    """A model of recurrent layers, x (T, B, 5) to y (T, B, hidden or twice that)."""
    rng, directions = np.random.default_rng(seed), 2 if direction == "bidirectional" else 1
    constants, nodes, value, width = {}, [], "x", INPUTS
    functions = (
        tuple(name.lower() for name in PLAIN[op]) if plain else ("tanh", "softsign", "sigmoid")[: len(PLAIN[op])]
    )
    attrs = {
        "hidden_size": hidden,
        "direction": direction,
        "activations": functions * directions,
        "activation_alpha": (0.0,) * len(functions) * directions,
        "activation_beta": (0.0,) * len(functions) * directions,
    }
    if op == "gru":
        attrs["linear_before_reset"] = 1
    for n in range(count):
        rows = GATES[op] * hidden
        shapes = {"w": (rows, width), "r": (rows, hidden), "b": (2 * rows,)}
        for name, shape in shapes.items():
            constants[f"{name}{n}"] = rng.normal(0, 0.4 / math.sqrt(shape[-1]), (directions, *shape)).astype(np.float32)
        nodes.append(make_node(op, [value, f"w{n}", f"r{n}", f"b{n}"], [f"y{n}"], **attrs))
        nodes.append(make_node("transpose", [f"y{n}"], [f"t{n}"], perm=(0, 2, 1, 3)))
        width = directions * hidden
        nodes.append(make_node("reshape", [f"t{n}"], [f"z{n}"], shape=(models.T, models.B, width)))
        value = f"z{n}"
    x = TensorType("float32", (models.T, models.B, INPUTS))
    return Model(Graph(inputs={"x": x}, outputs={"out": value}, nodes=tuple(nodes), constants=constants))


def readings(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=(*shape, INPUTS)).astype(np.float32)


def bits(array):
    return np.ascontiguousarray(array).view(np.int32).tolist()


@settings(max_examples=16, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_threads_do_not_show_in_a_stream(eager, data):
    op = data.draw(st.sampled_from(["lstm", "gru", "rnn"]))
    hidden = data.draw(st.sampled_from([65, 80, 128, 200, 321]))
    count, plain = data.draw(st.integers(1, 2)), data.draw(st.booleans())
    model = layers(op, hidden, count, seed=data.draw(st.integers(0, 99)), plain=plain)
    if data.draw(st.booleans()):
        model = edgelstm.quantize(model, objective="size", tolerance=math.inf)
    streams = [model.stream(threads=threads) for threads in (1, 2, 3)]
    assert [stream._executor._crew is not None for stream in streams] == [False, True, True]
    xs = readings(9)
    for x in xs[:4]:
        one, two, three = (bits(stream.step(x)) for stream in streams)
        assert one == two == three
    one, two, three = (bits(stream.run(xs[4:])) for stream in streams)
    assert one == two == three
    assert len({stream.snapshot() for stream in streams}) == 1


@settings(max_examples=16, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_threads_do_not_show_in_predict(eager, data):
    op = data.draw(st.sampled_from(["lstm", "gru", "rnn"]))
    direction = data.draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    rows, hidden = data.draw(st.sampled_from([1, 2, 3, 7, 16])), data.draw(st.sampled_from([20, 80, 130]))
    model = layers(op, hidden, data.draw(st.integers(1, 2)), direction, plain=data.draw(st.booleans()))
    if data.draw(st.booleans()):
        model = edgelstm.quantize(model, objective="size", tolerance=math.inf)
    time = data.draw(st.sampled_from([1, 2, 7]))
    x = readings(time, rows)
    lengths = data.draw(st.none() | st.lists(st.integers(0, time), min_size=rows, max_size=rows))
    one, two, three = (bits(model.predict(x, lengths, threads=threads)) for threads in (1, 2, 3))
    assert one == two == three


def test_rows_that_touch_each_other_stay_together(eager):
    constants = {"w": np.eye(INPUTS, dtype=np.float32)}
    nodes = (make_node("linear", ["x", "w", ""], ["y"]), make_node("softmax", ["y"], ["z"], axis=1))
    x = TensorType("float32", (models.T, models.B, INPUTS))
    model = Model(Graph(inputs={"x": x}, outputs={"z": "z"}, nodes=nodes, constants=constants))
    assert bits(model.predict(readings(3, 8), threads=2)) == bits(model.predict(readings(3, 8)))


@pytest.mark.parametrize("threads", [0, -1, 257, 1.0, "2", None, True])
def test_what_is_no_number_of_threads(threads):
    model = models.model()
    for call in (model.stream, lambda threads: model.predict(np.zeros((1, 2, models.INPUTS)), threads=threads)):
        with pytest.raises(InputError, match="threads: expected an integer from 1 to 256"):
            call(threads=threads)
    with pytest.raises(InputError, match="threads: expected an integer from 1 to 256"):
        model.pool(4, threads=threads)


def test_small_models_run_on_one_thread(monkeypatch):
    monkeypatch.setattr(team, "processors", lambda: 4)
    monkeypatch.setattr(threshold, "costs", lambda _compiled: threshold.Costs(20.0, 0.5, 2e5, 1e5))
    stream = models.model().stream(threads=2)
    assert stream._executor._crew is None
    assert bits(stream.step(np.ones(models.INPUTS))) == bits(models.model().stream().step(np.ones(models.INPUTS)))


def test_a_bad_reading_leaves_the_state_alone(eager):
    stream = layers("lstm", 130).stream(threads=2)
    stream.step(readings()[None][0])
    before = stream.snapshot()
    with pytest.raises(InputError, match="finite"):
        stream.step(np.full(INPUTS, np.nan, np.float32))
    with pytest.raises(InputError, match="finite"):
        stream.run(np.array([np.ones(INPUTS), np.full(INPUTS, np.inf)], np.float32))
    assert stream.snapshot() == before
    assert stream.step(readings()).shape == (130,)


def test_streams_and_pools_in_several_threads(eager):
    """All borrow from the same few teams, and some find none free."""
    model, xs, errors = layers("gru", 130), readings(40), []
    expected = bits(model.stream().run(xs))
    rows = np.repeat(xs[:, None], 128, axis=1)
    in_pool = model.pool(128).step(list(range(128)), rows[0])

    def stream():
        own = model.stream(threads=2)
        for _ in range(5):
            own.reset()
            assert bits(np.stack([own.step(x) for x in xs])) == expected

    def run():
        own = model.stream(threads=3)
        for _ in range(5):
            own.reset()
            assert bits(own.run(xs)) == expected

    def pool():
        own = model.pool(128, threads=2)
        for _ in range(5):
            own.reset()
            assert bits(own.step(list(range(128)), rows[0])) == bits(in_pool)

    def predict():
        for _ in range(3):
            assert bits(model.predict(rows[:, :4], threads=2)[:, 0]) == expected

    def work(call):
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - to be told by the main thread
            errors.append(error)

    callers = [threading.Thread(target=work, args=(call,)) for call in (stream, run, pool, predict, stream)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not errors


def test_one_stream_in_two_threads_is_refused(eager):
    """The caller that is refused must not take the other's helpers away."""
    stream, twin, xs = (model := layers("lstm", 200)).stream(threads=2), model.stream(), readings(4000)
    stream.step(xs[0])
    twin.step(xs[0])
    refused, answer = [], []
    caller = threading.Thread(target=lambda: answer.append(stream.run(xs)))
    caller.start()
    assert wait_until(lambda: stream._executor.busy or not caller.is_alive())  # else it could be the one to be refused
    while caller.is_alive():
        try:
            before = stream.snapshot()
            stream.restore(before)
        except StreamError as error:
            refused.append(error)
    caller.join()
    assert refused
    assert bits(answer[0]) == bits(twin.run(xs))


def test_threads_end_with_what_needed_them(eager):
    gc.collect()
    assert wait_until(lambda: not helpers())
    model = layers("lstm", 130)
    stream, pool = model.stream(threads=3), model.pool(256, threads=3)
    stream.step(readings())
    pool.step(list(range(256)), readings(256))
    assert 2 <= len(helpers()) <= 6
    del stream
    gc.collect()
    assert helpers()  # the pool has them still
    del pool
    gc.collect()
    assert wait_until(lambda: not helpers())


def test_idle_threads_use_no_processor(eager):
    stream = layers("lstm", 200).stream(threads=2)
    stream.run(readings(50))
    threads = [Path(f"/proc/self/task/{thread.native_id}/stat") for thread in helpers()]
    if not all(path.exists() for path in threads):
        pytest.skip("needs /proc")
    assert threads

    def ticks():
        return [sum(map(int, path.read_text().rsplit(")", 1)[1].split()[11:13])) for path in threads]

    def asleep():
        return all(path.read_text().rsplit(")", 1)[1].split()[0] == "S" for path in threads)

    assert wait_until(asleep)
    before = ticks()
    threading.Event().wait(0.2)  # twenty ticks
    assert ticks() == before


SCRIPT = """
import sys, os
import numpy as np
from edgelstm.machine import team, threshold
from tests.runtime.test_threads import layers, readings, bits
from tests.threads import FREE, helpers
team.processors = lambda: 4
threshold.costs = lambda compiled: FREE
model = layers("lstm", 130)
stream, pool = model.stream(threads=3), model.pool(128, threads=2)
xs = readings(6)
stream.step(xs[0]); pool.step(list(range(128)), readings(128)); model.predict(readings(3, 4), threads=2)
assert helpers()
"""


def run_script(text, **more):
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + text],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **more,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("ending", ["", "os._exit(0)"])
def test_the_interpreter_ends_with_idle_threads(ending):
    run_script(ending)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_has_threads_of_its_own():
    text = """
twin = model.stream()
twin.step(xs[0])
child = os.fork()
same = bits(stream.run(xs[1:])) == bits(twin.run(xs[1:])) and len(helpers()) >= 2
same = same and bits(pool.step(list(range(128)), readings(128))) != []
if child == 0:
    os._exit(0 if same else 1)
print(same, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_script(text).split() == ["True", "0"]


def test_without_semaphores_one_thread_does_all(eager, monkeypatch):
    monkeypatch.setattr(team, "possible", lambda: False)
    team._warn_once.cache_clear()
    model = layers("rnn", 130)
    with pytest.warns(RuntimeWarning, match="on one thread"):
        stream = model.stream(threads=2)
    assert bits(stream.step(readings())) == bits(model.stream().step(readings()))
