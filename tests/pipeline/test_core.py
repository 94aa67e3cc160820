"""The core loop: order, gaps, joining, resampling, anomalies, checkpoints."""

import math

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.pipeline.anomaly import AnomalyRule, Scale
from edgelstm.pipeline.core import Pipeline, Rules
from edgelstm.pipeline.join import JoinRule
from edgelstm.pipeline.order import OrderRule
from edgelstm.pipeline.reading import Reading
from edgelstm.runtime.model import Model
from edgelstm.runtime.store import StateStore
from tests.runtime import models

pytest.importorskip("numba")
FEATURES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model():
    return Model(models.forecaster())


def pipeline(model, capacity=8, anomaly=None, horizon=0, order=None, **join):
    rules = Rules(JoinRule(FEATURES, **join), ("p", "q"), order or OrderRule(), anomaly, horizon)
    return Pipeline(model.pool(capacity=capacity, on_full="evict"), rules)


def reading(key, row, sequence=None, time=None, arrival=0.0):
    values = {name: float(value) for name, value in zip(FEATURES, row, strict=False) if value is not None}
    return Reading(key, values, sequence, time, arrival)


def outputs(predictions):
    return [tuple(p.outputs.values()) for p in predictions]


def single(model, rows):
    stream = model.stream()
    return [tuple(map(float, stream.step(row))) for row in rows]


ROWS = models.readings(12)


def test_batches_of_any_size_give_the_same(model):
    sizes = (1, 2, 5, 12)
    found = []
    for size in sizes:
        pipe, told = pipeline(model), []
        given = [reading(f"k{n % 3}", row) for n, row in enumerate(ROWS)]
        for start in range(0, 12, size):
            told += outputs(pipe.process(given[start : start + size]))
        found.append(told)
    assert all(told == found[0] for told in found)
    assert found[0][0::3] == single(model, ROWS[0::3])


@pytest.mark.parametrize("batch", [1, 20])
def test_late_and_duplicate_readings_are_skipped(model, batch):
    pipe = pipeline(model, order=OrderRule("sequence"))
    order = [0, 1, 1, 2, 1, 3, 3]
    given = [reading("k", ROWS[n], n) for n in order]
    told = [p for start in range(0, len(given), batch) for p in pipe.process(given[start : start + batch])]
    assert outputs(told) == single(model, ROWS[:4])
    assert (pipe.counts["duplicate"], pipe.counts["late"]) == (2, 1)


def test_gaps_skip_hold_or_reset(model):
    given = [reading("k", ROWS[n], n) for n in (0, 1, 4)]
    skip = pipeline(model, order=OrderRule("sequence"))
    assert outputs(skip.process(given)) == single(model, ROWS[[0, 1, 4]])
    assert skip.counts["missing"] == 2
    hold = pipeline(model, order=OrderRule("sequence", on_gap="hold"))
    assert outputs(hold.process(given))[2] == single(model, ROWS[[0, 1, 1, 1, 4]])[4]
    assert hold.counts["filled"] == 2
    reset = pipeline(model, order=OrderRule("sequence", on_gap="reset"))
    assert outputs(reset.process(given))[2] == single(model, ROWS[[4]])[0]
    assert reset.counts["reset"] == 1
    longest = pipeline(model, order=OrderRule("sequence", on_gap="hold", longest=1))
    assert outputs(longest.process(given))[2] == single(model, ROWS[[4]])[0]


def test_a_sender_that_starts_anew_is_no_latecomer(model):
    pipe = pipeline(model, order=OrderRule("sequence", restart=10))
    found = outputs(pipe.process([reading("k", ROWS[0], 5000), reading("k", ROWS[1], 0), reading("k", ROWS[2], 1)]))
    assert found[1:] == single(model, ROWS[1:3])
    assert pipe.counts["restarted"] == 1


def test_a_clock_that_jumps_is_no_gap_by_sequence_or_arrival(model):
    for order in (OrderRule("sequence"), OrderRule("arrival", interval=1.0)):
        pipe = pipeline(model, order=order)
        given = [reading("k", ROWS[n], n, time=[0.0, 1.0, 1.7e9][n], arrival=float(n)) for n in range(3)]
        assert outputs(pipe.process(given)) == single(model, ROWS[:3])
        assert not pipe.counts["missing"]
    pipe = pipeline(model, order=OrderRule("time", interval=60.0))
    pipe.process([reading("k", ROWS[0], time=0.0), reading("k", ROWS[1], time=181.0)])
    assert pipe.counts["missing"] == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e39, -3.40282357e38])
def test_invalid_values_hold_skip_or_reset(model, value):
    given = [reading("k", ROWS[0]), reading("k", [ROWS[1][0], value, ROWS[1][2]]), reading("k", ROWS[2])]
    mended = np.array([ROWS[0], [ROWS[1][0], ROWS[0][1], ROWS[1][2]], ROWS[2]])
    hold = pipeline(model)
    assert outputs(hold.process(given)) == single(model, mended)
    skip = pipeline(model, on_invalid="skip")
    assert outputs(skip.process(given)) == single(model, ROWS[[0, 2]])
    reset = pipeline(model, on_invalid="reset")
    assert outputs(reset.process(given))[1] == single(model, ROWS[[2]])[0]
    assert hold.counts["invalid"] == skip.counts["invalid"] == reset.counts["invalid"] == 1
    first = pipeline(model)
    assert not first.process([reading("k", [value, 1, 1])])
    assert first.counts["incomplete"] == 1


def test_features_join_with_hold_and_age(model):
    pipe = pipeline(model, join=True, max_age={"b": 10.0})
    parts = [({"a": 1.0}, 0), ({"b": 2.0}, 1), ({"c": 3.0}, 2), ({"a": 4.0}, 3), ({"a": 5.0}, 20), ({"b": 6.0}, 21)]
    found = [outputs(pipe.process([Reading("k", values, arrival=float(at))])) for values, at in parts]
    assert [len(part) for part in found] == [0, 0, 1, 1, 0, 1]
    whole = single(model, [[1, 2, 3], [4, 2, 3], [5, 6, 3]])
    assert [row for part in found for row in part] == whole
    assert pipe.counts["incomplete"] == 3


def test_a_trigger_completes_a_reading(model):
    pipe = pipeline(model, join=True, trigger=("c",))
    given = [Reading("k", {"a": 1.0, "b": 2.0}), Reading("k", {"c": 3.0}), Reading("k", {"a": 9.0})]
    assert outputs(pipe.process(given)) == single(model, [[1, 2, 3]])


@pytest.mark.parametrize(("sample", "row"), [("mean", [2, 2, 2]), ("last", [3, 3, 3])])
def test_resampling_to_the_models_pace(model, sample, row):
    pipe = pipeline(model, every=60.0, sample=sample)
    assert not pipe.process([reading("k", [1, 1, 1], arrival=0.0), reading("k", [3, 3, 3], arrival=59.0)])
    assert outputs(pipe.process([reading("k", [5, 5, 5], arrival=61.0)])) == single(model, [row])
    assert not pipe.tick(119.0)
    assert outputs(pipe.tick(121.0)) == single(model, [row, [5, 5, 5]])[1:]
    pipe.process([reading("k", [1, 1, 1], arrival=400.0)])
    assert len(pipe.tick(1000.0)) == 1
    assert pipe.counts["missing"] == 4


def timed(key, row, time, sequence=None):
    return reading(key, row, sequence, time=time, arrival=-1.0)


def test_a_clock_that_is_set_leaves_no_gap_between_stretches(model):
    """A board without a clock boots in 1970, is set to 2026, and boots in 1970 again."""
    for by, missing in (("none", 0), ("time", 29_000_000)):
        pipe = pipeline(model, every=60.0, by_arrival=False, order=OrderRule(by, interval=1.0, restart=10**9))
        found = pipe.process([timed("k", [n, n, n], 30.0 + 60 * n) for n in range(3)])
        found += pipe.process([timed("k", [n, n, n], 1.74e9 + 60 * n) for n in range(3, 6)])
        assert pipe.counts["missing"] >= missing
        assert (pipe.counts["missing"] == 0) == (missing == 0)
    pipe = pipeline(model, every=60.0, by_arrival=False)
    given = [timed("k", [n, n, n], 1.74e9 + 60 * n) for n in range(3)] + [
        timed("k", [n, n, n], 60.0 * n) for n in (3, 4)
    ]
    assert outputs(pipe.process(given)) == single(model, [[n, n, n] for n in range(4)])
    assert not pipe.counts["missing"]


def test_resampled_gaps_hold_the_reading_before(model):
    pipe = pipeline(model, every=60.0, order=OrderRule(on_gap="hold"))
    at = ((1, 0.0), (2, 60.0), (3, 240.0), (4, 300.0))
    found = [p for n, time in at for p in pipe.process([reading("k", [n, n, n], arrival=time)])]
    assert outputs(found) == [single(model, [[n, n, n] for n in (1, 2, 2, 2, 3)])[n] for n in (0, 1, 4)]
    assert (pipe.counts["missing"], pipe.counts["filled"]) == (2, 2)


def test_resampling_counts_no_message_twice(model):
    pipe = pipeline(model, every=60.0, order=OrderRule("sequence"))
    given = [reading("k", [n, n, n], n, arrival=20.0 * n) for n in (0, 1, 1, 2, 0, 3)]
    assert outputs(pipe.process(given)) == single(model, [[1, 1, 1]])
    assert (pipe.counts["duplicate"], pipe.counts["late"]) == (1, 1)
    found = pipe.process([reading("k", [n, n, n], n - 5000, arrival=200.0 + 60 * n) for n in (7, 8)])
    assert outputs(found) == single(model, [[7, 7, 7]])  # a sender that starts anew
    assert pipe.counts["restarted"] == 1


def test_late_messages_of_a_closed_stretch_are_skipped(model):
    pipe = pipeline(model, every=60.0, by_arrival=False)
    given = [timed("k", [n, n, n], time) for n, time in ((1, 0.0), (2, 61.0), (9, 59.0), (3, 121.0))]
    assert outputs(pipe.process(given)) == single(model, [[1, 1, 1], [2, 2, 2]])
    assert pipe.counts["late"] == 1


def test_resampling_goes_on_after_another_boot(model, tmp_path):
    """The clock of arrival starts anew with the machine; what was saved is of the clock before."""
    store, first, second = StateStore(tmp_path / "s.db"), pipeline(model, every=60.0), pipeline(model, every=60.0)
    first.process([reading("k", [1, 1, 1], arrival=9e6), reading("k", [2, 2, 2], arrival=9e6 + 60)])
    first.checkpoint(store)
    second.load(store)
    found = second.process([reading("k", [n, n, n], arrival=60.0 * n) for n in (3, 4, 5)])
    assert outputs(found) == single(model, [[n, n, n] for n in (1, 2, 3, 4)])[1:]


def test_one_mad_timestamp_does_not_silence_a_key(model):
    pipe = pipeline(model, order=OrderRule("time", interval=1.0, restart=100))
    given = [reading("k", ROWS[n], time=time) for n, time in enumerate((1.0, 2.0, 1e300, 3.0, 4.0))]
    assert len(pipe.process(given)) == 5
    assert pipe.counts["restarted"] == 1


def test_a_clock_put_back_does_not_keep_old_values_young(model):
    pipe = pipeline(model, join=True, max_age={"b": 10.0})
    pipe.process([Reading("k", {"a": 1.0, "b": 2.0, "c": 3.0}, arrival=1000.0)])
    found = [pipe.process([Reading("k", {"a": 1.0}, arrival=at)]) for at in (0.0, 9.0, 11.0)]
    assert [len(part) for part in found] == [1, 1, 0]


def test_warm_after_the_horizon(model):
    pipe = pipeline(model, horizon=3)
    assert [p.warm for p in pipe.process([reading("k", row) for row in ROWS[:4]])] == [False, False, True, True]


def test_eviction_is_counted_and_forgets_all(model):
    pipe = pipeline(model, capacity=2, order=OrderRule("sequence"))
    for key in "abc":
        pipe.process([reading(key, ROWS[0], 7)])
    assert pipe.counts["evicted"] == 1
    assert outputs(pipe.process([reading("a", ROWS[1], 7)])) == single(model, ROWS[[1]])


def test_more_keys_at_once_than_streams(model):
    """Streams take each other's places within one call; each begins anew, and says so."""
    pipe = pipeline(model, capacity=2, horizon=2, order=OrderRule("sequence", on_gap="reset"))
    for turn in range(6):
        given = [reading(key, ROWS[turn], 2 * turn) for key in "abcda"] + [reading("d", ROWS[turn], 2 * turn + 1)]
        found = pipe.process(given)
        assert [p.key for p in found] == list("abcdd")
        assert outputs(found) == single(model, ROWS[[turn]]) * 4 + single(model, ROWS[[turn, turn]])[1:]
        assert [p.warm for p in found] == [False, False, False, False, True]
        assert set(pipe.pool) <= pipe._tracks.keys()


def test_more_stretches_end_at_once_than_there_are_streams(model):
    pipe = pipeline(model, capacity=2, every=60.0, horizon=2)
    for turn in range(3):
        pipe.process([reading(key, ROWS[turn], arrival=60.0 * turn) for key in "abcd"])
        found = pipe.tick(60.0 * turn + 60)
        assert outputs(found) == single(model, ROWS[[turn]]) * 4
        assert not any(p.warm for p in found)
        assert set(pipe.pool) <= pipe._tracks.keys()


def test_keys_that_never_make_a_reading_leave_nothing_behind(model, tmp_path):
    pipe, store = pipeline(model, capacity=4, join=True), StateStore(tmp_path / "s.db")
    pipe.process([reading("good", ROWS[0])])
    for number in range(200):
        pipe.process([Reading(f"stray {number}", {"a": 1.0})])
        if number % 7 == 0:
            pipe.checkpoint(store)
    pipe.checkpoint(store)
    assert len(pipe._tracks) <= 8
    assert store.notes().keys() == pipe._tracks.keys()
    assert outputs(pipe.process([reading("good", ROWS[1])])) == single(model, ROWS[:2])[1:]
    assert not pipe._forgotten


def test_a_wild_key_leaves_the_others_alone(model):
    calm, wild = pipeline(model), pipeline(model)
    told, other = [], []
    for n, row in enumerate(ROWS):
        told += outputs(calm.process([reading("calm", row)]))
        bad = [math.nan, math.inf, 1e30, 1e-40, 1e39, -1e300][n % 6]
        both = wild.process([reading("wild", [bad, bad, bad]), reading("calm", row)])
        other += outputs([p for p in both if p.key == "calm"])
    assert other == told


def test_a_checkpoint_goes_on_to_the_bit(model, tmp_path):
    rule = AnomalyRule(warmup=2)
    whole = pipeline(model, anomaly=rule, order=OrderRule("sequence", on_gap="hold"))
    given = [reading(f"k{n % 2}", row, n // 2 * (1 + n // 8)) for n, row in enumerate(ROWS)]
    expected = [(p.key, p.outputs, str(p.extra)) for p in whole.process(given)]
    for cut in range(1, 12):
        store = StateStore(tmp_path / f"{cut}.db")
        first = pipeline(model, anomaly=rule, order=OrderRule("sequence", on_gap="hold"))
        told = first.process(given[:cut])
        first.checkpoint(store, cut)
        second = pipeline(model, anomaly=rule, order=OrderRule("sequence", on_gap="hold"))
        position = second.load(store)
        told += second.process(given[position:])
        assert [(p.key, p.outputs, str(p.extra)) for p in told] == expected


def test_features_must_fit_the_model(model):
    with pytest.raises(InputError, match="expected 3 names"):
        Pipeline(model.pool(capacity=1), Rules(JoinRule(("a",)), ("p", "q")))


def test_the_scale_follows_the_residuals_and_not_the_outliers():
    rng, rule, scale, flags = np.random.default_rng(0), AnomalyRule(threshold=6.0), Scale(), []
    for n in range(5000):
        scale.forecast = 0.0
        value = 100.0 if n > 200 and n % 100 == 0 else rng.normal(0, 2.0)
        score, flagged = scale.score(rule, value)
        flags.append(flagged)
        if flagged:
            assert score > 6
    assert 1.4 < 1.4826 * scale.median < 2.8
    assert all(flags[n] for n in range(300, 5000, 100))
    assert sum(flags) <= 60
