"""Figures: their spread, their merging over runs, their way through JSON."""

import json

import pytest

from benchmarks.measure import Timing, interleaved, spread
from benchmarks.results import Row, from_plain, merge


def test_spread_is_within_the_samples():
    assert spread([3.0, 1.0]) == Timing(2.0, 1.5, 2.5)
    assert spread([4.0]) == Timing(4.0, 4.0, 4.0)


def test_a_rate_turns_the_spread_around():
    rate = Timing(2.0, 1.0, 4.0).rate(8)
    assert (rate.median, rate.low, rate.high) == (4.0, 2.0, 8.0)


def test_interleaved_makes_every_call_in_turn():
    order = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, seconds=1e-5)
    assert set(found) == {"a", "b"}
    assert all(0 < timing.low <= timing.median <= timing.high for timing in found.values())
    turns = [name for name, before in zip(order, [None, *order], strict=False) if name != before]
    assert turns[-6:] == ["a", "b"] * 3


def test_merged_runs_have_the_median_and_the_widest_spread():
    runs = [[Row("g", "l", {"a": Timing(median, median - 1, median + 1)}, bound=median)] for median in (5.0, 9.0, 6.0)]
    (row,) = merge(runs)
    assert row.figures["a"] == Timing(6.0, 4.0, 10.0)
    assert row.bound == 6.0


def test_engines_of_several_processes_come_together():
    parts = [[Row("g", "l", {"a": Timing(1, 1, 1)}, {"b": "not installed"})], [Row("g", "l", {"b": Timing(2, 2, 2)})]]
    (row,) = merge(parts)
    assert set(row.figures) == {"a", "b"}
    assert row.missing == {}


def test_plain_and_back():
    row = Row("g", "l", {"a": Timing(1.0, 0.5, 2.0)}, {"b": "no"}, 0.25, "T = 1")
    assert from_plain(json.loads(json.dumps(row.plain()))) == row


@pytest.mark.parametrize("name", ["a", "b"])
def test_rows_with_other_labels_stay_apart(name):
    rows = merge([[Row("g", "1"), Row("g", "2")], [Row("g", "1", {name: Timing(1, 1, 1)})]])
    assert [row.key for row in rows] == [("g", "1"), ("g", "2")]
