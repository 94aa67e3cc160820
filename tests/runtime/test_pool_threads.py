"""Threads that share the rows of a call, and threads that call: the same bits as single streams."""

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import edgelstm
from edgelstm.errors import InputError
from edgelstm.runtime.engine import LARGEST
from edgelstm.runtime.model import Model
from tests.runtime import models
from tests.runtime.test_pool import Twin, bits
from tests.threads import eager

pytest.importorskip("numba")
__all__ = ["eager"]
KEYS = 6 * LARGEST
WIDE = 64  # units from which a shard lets other threads run


@pytest.fixture(scope="module")
def small():
    return Model(models.forecaster())


@pytest.fixture(scope="module")
def wide():
    rng = np.random.default_rng(0)
    shapes = {"w_ih": (4 * WIDE, 3), "w_hh": (4 * WIDE, WIDE), "b_ih": (4 * WIDE,), "b_hh": (4 * WIDE,)}
    names = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
    return edgelstm.from_arrays({names[name]: rng.normal(0, 0.2, shape) for name, shape in shapes.items()})


@settings(
    max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # to shrink would take minutes
@given(st.data())
def test_shards_equal_single_streams(eager, small, data):
    threads = data.draw(st.sampled_from([2, 3, 5]))
    pool, twin = small.pool(capacity=KEYS, threads=threads, on_invalid="hold"), Twin(small, on_invalid="hold")
    assert pool._shards is not None
    assert pool._shards.least == 2 * LARGEST
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    for _ in range(data.draw(st.integers(1, 3))):
        count = data.draw(st.sampled_from([2 * LARGEST - 1, 2 * LARGEST, 3 * LARGEST + 1, KEYS]))
        keys = rng.permutation(KEYS)[:count].tolist()
        xs = rng.normal(0, 1, (count, models.INPUTS)).astype(np.float32)
        ys = pool.step(pool.slots(keys) if data.draw(st.booleans()) else keys, xs)
        assert bits(ys) == bits(np.stack([twin.step(key, x) for key, x in zip(keys, xs, strict=True)]))
        if data.draw(st.booleans()):  # repeated keys and numbers that are held, over the same shards
            keys, again = keys + keys[: count // 2], np.concatenate([xs, xs[: count // 2]])
            again[rng.integers(len(again)), 0] = np.nan
            expected = np.stack([twin.step(key, x) for key, x in zip(keys, again, strict=True)])
            assert bits(pool.step(keys, again)) == bits(expected)
        gone = pool.evict(rng.permutation(KEYS)[:3].tolist())
        for key in gone:
            del twin.streams[key]
    assert all(pool.snapshot(key) == stream.snapshot() for key, stream in twin.streams.items())


def test_shards_that_run_at_the_same_time(eager, wide):
    """Large enough that each shard lets go of the interpreter's lock."""
    one, two, rng = wide.pool(capacity=KEYS), wide.pool(capacity=KEYS, threads=2), np.random.default_rng(1)
    for _ in range(20):
        keys = rng.permutation(KEYS).tolist()
        xs = rng.normal(0, 1, (KEYS, 3)).astype(np.float32)
        assert bits(one.step(keys, xs)) == bits(two.step(keys, xs))
    streams = {key: wide.stream() for key in (0, LARGEST, KEYS - 1)}
    for key, stream in streams.items():
        stream.restore(two.snapshot(key))
        x = np.ones(3, np.float32)
        assert bits(two.step([key], [x])[0]) == bits(stream.step(x))


def test_callers_in_several_threads_use_shards(eager, wide):
    """Each caller has keys of its own; steps, evictions, snapshots and slots go on at once."""
    pool, errors = wide.pool(capacity=4 * KEYS, threads=2), []
    xs = np.random.default_rng(2).normal(0, 1, (6, KEYS, 3)).astype(np.float32)

    def work(name):
        try:
            keys = [f"{name}{n}" for n in range(KEYS)]
            for rows in xs:
                pool.step(keys, rows)
                pool.step([f"{name} more"], rows[:1])
                pool.snapshot(keys[0])
                pool.evict([f"{name} more"])
        except BaseException as error:  # noqa: BLE001 - to be told by the main thread
            errors.append(error)

    callers = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not errors
    alone = wide.pool(capacity=KEYS)
    for rows in xs:
        alone.step(list(range(KEYS)), rows)
    assert all(pool.snapshot(f"{name}{n}") == alone.snapshot(n) for name in "abc" for n in range(KEYS))


def test_a_refused_call_leaves_every_shard_alone(eager, small):
    pool = small.pool(capacity=KEYS, threads=3)
    xs = np.ones((KEYS, 3), np.float32)
    pool.step(list(range(KEYS)), xs)
    before = [pool.snapshot(key) for key in pool]
    xs[-1, 2] = np.inf
    with pytest.raises(InputError, match=f"row {KEYS - 1}"):
        pool.step(list(range(KEYS)), xs)
    assert [pool.snapshot(key) for key in pool] == before
