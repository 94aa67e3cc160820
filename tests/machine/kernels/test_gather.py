from __future__ import annotations

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.program.lowering import lower
from tests.machine.kernels.harness import graph, run


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)], ids=str)
def test_gather(axis: int, constant: bool, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((5, 6, 17)).astype(np.float32)
    size = table.shape[axis]
    indices = rng.integers(-size, size, shape)
    got = run("gather", table, indices, constants=(1,) if constant else (), axis=axis)
    assert np.array_equal(got, np.take(table, indices, axis))


def test_gather_from_a_constant_table_of_integers() -> None:
    table = np.arange(20, dtype=np.int64).reshape(10, 2) - 7
    indices = np.array([3, -1, 0], np.int64)
    assert np.array_equal(run("gather", table, indices, constants=(0,)), table[indices])


def test_one_constant_index_at_the_front_costs_no_instruction() -> None:
    made = graph("gather", [np.zeros((4, 3), np.float32), np.array(-1)], {1: np.array(-1)})
    assert len(lower(made).code) == 0


@pytest.mark.parametrize("index", [5, -6, 2**31 - 1, -(2**31)])
def test_an_index_out_of_range_stops_the_run(index: int) -> None:
    with pytest.raises(IndexError):
        run("gather", np.zeros((5, 2), np.float32), np.array([0, index]))


def test_a_constant_index_out_of_range_is_refused_when_planned() -> None:
    with pytest.raises(InputError, match="expected -5 to 4"):
        run("gather", np.zeros((5, 2), np.float32), np.array([0, 5]), constants=(1,))


@pytest.mark.parametrize("batch_axis", [0, 1])
@pytest.mark.parametrize("inner", [(), (5,), (3, 7)], ids=str)
def test_reverse_sequence(batch_axis: int, inner: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal((4, 4, *inner)).astype(np.float32)
    lengths = np.array([4, 0, 1, 3])
    rows = np.moveaxis(x, batch_axis, 0).copy()
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = row[:length][::-1].copy()
    got = run("reverse_sequence", x, lengths, batch_axis=batch_axis, time_axis=1 - batch_axis)
    assert np.array_equal(got, np.moveaxis(rows, 0, batch_axis))


@pytest.mark.parametrize("length", [-1, 6])
def test_a_length_out_of_range_stops_the_run(length: int) -> None:
    with pytest.raises(IndexError):
        run("reverse_sequence", np.zeros((5, 2), np.float32), np.array([5, length]), batch_axis=1, time_axis=0)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("index", [0, 3])
def test_put(axis: int, index: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 4, 4)).astype(np.float32)
    value = rng.standard_normal([1 if k == axis % 3 else 4 for k in range(3)]).astype(np.float32)
    expected = x.copy()
    np.moveaxis(expected, axis, 0)[index] = np.moveaxis(value, axis, 0)[0]
    assert np.array_equal(run("put", x, value, np.array([index], np.int32), axis=axis), expected)


def test_put_into_integers() -> None:
    x = np.arange(6, dtype=np.int64).reshape(3, 2)
    got = run("put", x, np.array([[-7, 9]]), np.array([1]), axis=0)
    assert got.tolist() == [[0, 1], [-7, 9], [4, 5]]


@pytest.mark.parametrize("index", [-1, 4, 2**31 - 1, -(2**31)])
def test_putting_out_of_range_stops_the_run(index: int) -> None:
    with pytest.raises(IndexError):
        run("put", np.zeros((4, 2), np.float32), np.ones((1, 2), np.float32), np.array([index]), axis=0)


@pytest.mark.parametrize("index", [-1, 4])
def test_a_constant_place_out_of_range_is_refused_when_planned(index: int) -> None:
    with pytest.raises(InputError, match="expected 0 to 3"):
        run("put", np.zeros((4, 2), np.float32), np.ones((1, 2), np.float32), np.array([index]), axis=0, constants=(2,))
