"""A pool is its streams, bit for bit, however readings are grouped."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgelstm
from edgelstm.errors import InputError, StateError, StreamError
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.runtime import executors
from edgelstm.runtime.model import Model
from edgelstm.runtime.roster import rounds
from tests.runtime import models
from tests.strategies import random_case

pytest.importorskip("numba")


@pytest.fixture(scope="module")
def model():
    return Model(models.forecaster())


def bits(array):
    return np.ascontiguousarray(array).view(np.uint8).tobytes()


class Twin:
    """A stream for every key, which a pool must equal."""

    def __init__(self, model, **options):
        self.model, self.options, self.streams = model, options, {}

    def step(self, key, x):
        if key not in self.streams:
            self.streams[key] = self.model.stream(**self.options)
        return self.streams[key].step(x)


@settings(max_examples=30)
@given(st.data())
def test_any_grouping_equals_single_streams(model, data):
    pool, twin = model.pool(capacity=12, threads=data.draw(st.sampled_from([1, 2]))), Twin(model)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    saved = {}
    for _ in range(data.draw(st.integers(1, 12))):
        what = data.draw(st.sampled_from(["step", "step", "step", "evict", "snapshot", "restore", "reset", "slots"]))
        present = sorted(pool, key=str)
        if what in ("step", "slots"):
            count = data.draw(st.sampled_from([0, 1, 2, 3, 7, 8, 13, 40, 200]))
            keys = [f"k{n}" for n in rng.integers(0, 12, count)]
            xs = rng.normal(0, 1, (count, models.INPUTS)).astype(np.float32)
            ys = pool.step(pool.slots(keys) if what == "slots" else keys, xs)
            expected = [twin.step(key, x) for key, x in zip(keys, xs, strict=True)]
            assert bits(ys) == bits(np.array(expected, np.float32).reshape(-1, models.OUTPUTS))
        elif present:
            key = present[int(rng.integers(len(present)))]
            if what == "evict":
                assert pool.evict([key, "not there"]) == [key]
                del twin.streams[key]
            elif what == "snapshot":
                saved[key] = pool.snapshot(key)
                assert saved[key] == twin.streams[key].snapshot()
            elif what == "reset":
                pool.reset([key])
                twin.streams[key].reset()
            elif key in saved:
                pool.restore(key, saved[key])
                twin.streams[key].restore(saved[key])


@pytest.mark.parametrize("seed", range(60))
def test_random_models_in_groups_equal_single_streams(seed):
    model = Model(random_case(seed, streamable=True).graph)
    carried = {state.name for state in model.states}
    try:
        pool, streams = model.pool(capacity=20), [model.stream() for _ in range(20)]
    except StreamError:
        return  # outputs at some readings only; or none can be streamed
    rng = np.random.default_rng(seed)
    case = random_case(seed, streamable=True)
    for count in (1, 5, 20, 13):
        keys = rng.permutation(20)[:count].tolist()
        feeds = {
            name: np.stack([draw(case, rng, name, kind) for _ in range(count)])
            for name, kind in streams[0].inputs.items()
            if name not in carried
        }
        found = pool.step(keys, feeds)
        for row, key in enumerate(keys):
            expected = streams[key].step({name: array[row] for name, array in feeds.items()})
            for name in pool.outputs:
                one = found[name][row] if isinstance(found, dict) else found[row]
                other = expected[name] if isinstance(expected, dict) else expected
                assert one.dtype == other.dtype
                assert bits(one) == bits(other), (name, pool.batched)


def draw(case, rng, name, kind):
    return case.draw(rng, name, tuple(int(size) for size in kind.shape))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_int8_models_equal_single_streams(name):
    model = quantized(name)
    pool, streams = model.pool(capacity=40, threads=2), [model.stream() for _ in range(40)]
    rng = np.random.default_rng(0)
    for count in (1, 3, 40, 17, 40):
        keys = rng.permutation(40)[:count].tolist()
        xs = rng.normal(0, 1, (count, 6)).astype(np.float32)
        expected = [streams[key].step(x) for key, x in zip(keys, xs, strict=True)]
        assert bits(pool.step(keys, xs)) == bits(np.stack(expected))
    assert all(pool.snapshot(key) == stream.snapshot() for key, stream in enumerate(streams))


def quantized(name):
    gates, rng = {"lstm": 4, "gru": 3}[name], np.random.default_rng(3)
    shapes = {"rnn.weight_ih_l0": (gates * 24, 6), "rnn.weight_hh_l0": (gates * 24, 24)}
    shapes |= {"rnn.bias_ih_l0": (gates * 24,), "rnn.bias_hh_l0": (gates * 24,)}
    shapes |= {"head.weight": (2, 24), "head.bias": (2,)}
    arrays = {part: rng.normal(0, 0.2, shape).astype(np.float32) for part, shape in shapes.items()}
    whole = edgelstm.from_arrays(arrays)
    model = edgelstm.quantize(whole, rng.normal(0, 1, (200, 6)), objective="size", tolerance=math.inf)
    assert any(node.attrs.get("int8") for node in model.graph.nodes)
    return model


def test_models_that_skip_readings_are_refused_by_name():
    """Streams of a pool would be due at different readings."""
    graph = Graph(
        {"x": TensorType("float32", (models.B, 3, models.T))},
        {"y": "y"},
        (make_node("max_pool", ["x"], ["y"], "pool", kernel=(2,), strides=(2,), pads=(0, 0), dilations=(1,)),),
        {},
    )
    model = Model(graph)
    assert model.stream().stride == 2
    with pytest.raises(StreamError, match="stride or latency"):
        model.pool(capacity=2)


def test_most_random_models_share_the_weights():
    count = sum(_is_batched(seed) for seed in range(100))
    assert count >= 15


def _is_batched(seed):
    try:
        return Model(random_case(seed, streamable=True).graph).pool(capacity=1).batched
    except StreamError:
        return False


def test_without_numba_rows_go_one_by_one(model, monkeypatch):
    from edgelstm.program.executor import ReferenceExecutor

    monkeypatch.setattr(executors, "installed_machine", lambda: None)
    monkeypatch.setattr(executors, "make_executor", ReferenceExecutor)
    pool = model.pool(capacity=4)
    assert not pool.batched
    xs = models.readings(6)
    ys = pool.step(["a", "b", "a", "c", "b", "a"], xs)
    stream = model.stream()
    expected = [stream.step(x) for x in xs[[0, 2, 5]]]
    np.testing.assert_allclose(ys[[0, 2, 5]], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["hold", "error"])
def test_snapshots_go_from_streams_to_pools_and_back(model, policy):
    pool, stream = model.pool(capacity=2, on_invalid=policy), model.stream(on_invalid=policy)
    first, second = models.readings(2)
    pool.step(["a"], [first])
    stream.step(first)
    assert pool.snapshot("a") == stream.snapshot()
    pool.restore("b", stream.snapshot())
    other = model.stream(on_invalid=policy)
    other.restore(pool.snapshot("a"))
    if policy == "hold":
        second[1] = np.nan
    assert bits(pool.step(["b"], [second])[0]) == bits(other.step(second)) == bits(stream.step(second))


def test_several_inputs_and_states_by_name():
    model = Model(models.stateful())
    pool, stream = model.pool(capacity=3), model.stream()
    for x in models.readings(5):
        assert bits(pool.step(["a", "b"], {"x": np.stack([x, x])})[1]) == bits(stream.step(x))


def test_keys_of_all_kinds_are_apart(model):
    pool = model.pool(capacity=4)
    pool.step(["1", 1, b"1", np.int64(2)], np.ones((4, 3)))
    assert list(pool) == ["1", 1, b"1", 2]
    pool.step(np.array([1, 2]), np.ones((2, 3)))
    assert len(pool) == 4
    with pytest.raises(InputError, match=r"got 1\.5"):
        pool.step([1.5], np.ones((1, 3)))
    with pytest.raises(InputError, match="list of keys, got str"):
        pool.step("abc", np.ones((3, 3)))


def test_readings_must_fit(model):
    pool = model.pool(capacity=4)
    with pytest.raises(InputError, match="a reading for each of 2 keys, got 3"):
        pool.step(["a", "b"], np.ones((3, 3)))
    with pytest.raises(InputError, match=r"shape \(n, 3\)"):
        pool.step(["a"], np.ones((1, 4)))
    assert pool.step([], np.ones((0, 3))).shape == (0, 2)


def test_a_full_pool_refuses_or_evicts_the_oldest(model):
    pool = model.pool(capacity=2)
    pool.step(["a", "b"], np.ones((2, 3)))
    with pytest.raises(StateError, match="2 of 2 streams and 1 more"):
        pool.step(["c"], np.ones((1, 3)))
    assert "c" not in pool
    gone = []
    pool = model.pool(capacity=2, on_full="evict", on_evict=gone.append)
    for key in "abac":
        pool.step([key], np.ones((1, 3)))
    assert gone == [["b"]]
    assert pool.evictions == 1
    with pytest.raises(StateError, match="raise capacity"):
        pool.step(["d", "e", "f"], np.ones((3, 3)))


def test_idle_and_oldest_are_told(model):
    now = [0]
    pool = model.pool(capacity=5)
    pool._roster.clock, pool._roster.now = lambda: now[0], 0
    for second, key in enumerate("abcab"):
        now[0] = second * 10**9
        pool.step([key], np.ones((1, 3)))
    now[0] = 5 * 10**9
    assert pool.evict_idle(2.5) == ["c"]
    assert pool.evict_oldest(1) == ["a"]
    assert list(pool) == ["b"]


def test_slots_go_stale_with_their_keys(model):
    pool = model.pool(capacity=3)
    slots = pool.slots(["a", "b"])
    assert len(slots) == 2
    pool.evict(["x"])
    pool.step(["c"], np.ones((1, 3)))
    pool.evict(["c"])
    pool.step(slots, np.ones((2, 3)))
    pool.evict(["b"])
    with pytest.raises(StateError, match="'b' has left the pool"):
        pool.step(slots, np.ones((2, 3)))
    with pytest.raises(InputError, match="another pool"):
        model.pool(capacity=3).step(slots, np.ones((2, 3)))


def test_move_takes_the_state_along(model):
    here, there, stream = model.pool(capacity=2), model.pool(capacity=2), model.stream()
    first, second = models.readings(2)
    here.step(["a"], [first])
    stream.step(first)
    here.move(["a"], there)
    assert "a" not in here
    assert bits(there.step(["a"], [second])[0]) == bits(stream.step(second))
    with pytest.raises(StateError, match="not in the pool"):
        here.move(["a"], there)
    here.step(["a"], [first])
    with pytest.raises(StateError, match="already"):
        here.move(["a"], there)


WILD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("policy", ["hold", "reset", "propagate"])
@pytest.mark.parametrize("value", [*WILD, 1e30, 1e-40])
def test_one_wild_stream_leaves_the_others_alone(model, policy, value):
    pool, twin = model.pool(capacity=9, on_invalid=policy), Twin(model, on_invalid=policy)
    for call, xs in enumerate(models.readings(60).reshape(6, 10, 3)):
        keys = [f"k{n % 9}" for n in range(10)]
        if call in (2, 4):
            xs[4, 1] = value
        ys = pool.step(keys, xs)
        expected = np.stack([twin.step(key, x) for key, x in zip(keys, xs, strict=True)])
        np.testing.assert_array_equal(ys, expected)
        calm = [row for row in range(10) if row != 4]
        assert bits(ys[calm]) == bits(expected[calm])


@pytest.mark.parametrize("value", WILD)
def test_an_invalid_reading_is_refused_whole(model, value):
    pool = model.pool(capacity=3)
    pool.step(["a", "b"], np.ones((2, 3)))
    before = pool.snapshot("a"), pool.snapshot("b")
    xs = np.ones((3, 3), np.float32)
    xs[2, 0] = value
    with pytest.raises(InputError, match="row 2, key 'b': expected finite"):
        pool.step(["a", "a", "b"], xs)
    assert (pool.snapshot("a"), pool.snapshot("b")) == before


def test_hold_needs_something_to_hold(model):
    pool = model.pool(capacity=3, on_invalid="hold")
    pool.step(["a"], np.ones((1, 3)))
    before = pool.snapshot("a")
    with pytest.raises(InputError, match=r"key 'b'.*could be held"):
        pool.step(["a", "b"], np.array([[1, 1, 1], [1, np.nan, 1]]))
    assert pool.snapshot("a") == before


def test_changes_carry_a_pool_over(model):
    pool, other = model.pool(capacity=5), model.pool(capacity=5)
    pool.step(["a", "b", "c"], models.readings(3))
    now, rows, gone = pool.changes(0)
    assert [key for key, _ in rows] == ["a", "b", "c"]
    assert not gone
    other.set_rows(rows)
    pool.step(["b"], models.readings(1))
    pool.evict(["c"])
    later, rows, gone = pool.changes(now)
    assert [key for key, _ in rows] == ["b"]
    assert gone == ["c"]
    other.set_rows(rows)
    assert other.snapshot("b") == pool.snapshot("b")
    assert pool.changes(later)[1:] == ([], ["c"]) or pool.changes(later)[1:] == ([], [])
    with pytest.raises(StateError, match="expected a state of"):
        other.set_rows([("a", b"1234")])


@pytest.mark.parametrize("policy", ["hold", "reset", "propagate"])
def test_calls_with_bad_readings_are_changes_too(model, policy):
    pool = model.pool(capacity=3, on_invalid=policy)
    pool.step(["a", "b", "c"], np.ones((3, 3)))
    now, _, _ = pool.changes(0)
    pool.step(["a", "b"], np.array([[1, 2, 3], [1, np.nan, 3]]))
    assert [key for key, _ in pool.changes(now)[1]] == ["a", "b"]
    assert pool.last_used("c") < pool.last_used("b") == pool.last_used("a")


def test_rows_that_do_not_fit_change_nothing(model):
    pool, other = model.pool(capacity=5), model.pool(capacity=2, on_full="evict")
    pool.step(list("abc"), models.readings(3))
    with pytest.raises(StateError, match="has room for 2 streams, got 3"):
        other.set_rows(pool.changes(0)[1])
    with pytest.raises(StateError, match="key 'b': expected a state of"):
        other.set_rows([pool.changes(0)[1][0], ("b", b"1234")])
    assert not len(other)


def test_keys_that_come_and_go_leave_nothing_behind(model):
    pool = model.pool(capacity=2, on_full="evict")
    for key in range(1000):
        pool.step([key], np.ones((1, 3)))
    assert not pool._roster._gone
    assert pool.evictions == 998


def test_threads_take_turns(model):
    pool, twin = model.pool(capacity=40, threads=2), Twin(model)
    errors = []

    def work(name):
        try:
            for xs in models.readings(2000).reshape(10, 200, 3):
                pool.step([f"{name}{n % 20}" for n in range(200)], xs)
        except BaseException as error:  # noqa: BLE001 - to be told by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for row, x in enumerate(models.readings(2000)):
        twin.step(f"a{row % 20}", x)
    for key, stream in twin.streams.items():
        assert pool.snapshot(key) == stream.snapshot()
        assert pool.snapshot("b" + key[1:]) == stream.snapshot()


@given(st.lists(st.integers(0, 5)))
def test_rounds_keep_the_order_of_each_slot(slots):
    index = np.array(slots, np.int64)
    found = list(rounds(index))
    assert sorted(row for part in found for row in part.tolist()) == list(range(len(slots)))
    for part in found:
        assert len(set(index[part].tolist())) == len(part)
    seen = [row for part in found for row in part.tolist()]
    for slot in set(slots):
        rows = [row for row in seen if slots[row] == slot]
        assert rows == sorted(rows)


def test_the_same_and_equal_key_objects_are_one_key(model):
    """The table of keys holds addresses of objects: those of evicted ones must be forgotten."""
    pool, twin = model.pool(capacity=30, on_full="evict"), Twin(model)
    pool.on_evict = lambda gone: [twin.streams.pop(key) for key in gone]
    rng, kept = np.random.default_rng(0), [f"key {n}" for n in range(60)]
    for call in range(120):
        numbers = rng.permutation(60)[: rng.integers(1, 25)].tolist()
        keys = [kept[n] if rng.random() < 0.7 else f"key {n}" for n in numbers]
        if call % 10 == 9:
            kept = [f"key {n}" for n in range(60)]  # the old ones may be freed, and their addresses used anew
        xs = rng.normal(0, 1, (len(keys), models.INPUTS)).astype(np.float32)
        ys = pool.step(keys if call % 3 else tuple(keys), xs)
        for key, x, y in zip(keys, xs, ys, strict=True):
            assert bits(twin.step(key, x)) == bits(y)


def test_keys_are_found_where_lists_cannot_be_read(model, monkeypatch):
    monkeypatch.setattr("edgelstm.runtime.engine.layout", lambda: None)
    pool, stream = model.pool(capacity=3), model.stream()
    keys = ["a", "b"]
    for x in models.readings(3):
        assert bits(pool.step(keys, np.stack([x, x]))[1]) == bits(stream.step(x))
