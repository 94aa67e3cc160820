from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgelstm.errors import InputError
from tests.machine.kernels.harness import reference, run

NAMES = ("sum", "mean", "max", "min", "prod")
SUBSETS = [axes for count in range(4) for axes in itertools.combinations(range(3), count)]


@pytest.mark.parametrize("axes", SUBSETS, ids=str)
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_reduction_over_any_axes(name: str, axes: tuple[int, ...], keepdims: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 18)).astype(np.float32)
    got = run(f"reduce_{name}", x, axes=axes, keepdims=keepdims)
    expected = reference(f"reduce_{name}", x, axes=axes, keepdims=keepdims)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=2e-5 if name == "prod" else 0, atol=2e-5)


@pytest.mark.parametrize("axes", SUBSETS, ids=str)
@pytest.mark.parametrize("name", ["sum", "max", "min", "prod"])
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_integers_are_exact(name: str, axes: tuple[int, ...], dtype: str) -> None:
    x = np.random.default_rng(0).integers(1 if dtype == "uint8" else -3, 4, (2, 3, 4)).astype(dtype)
    got = run(f"reduce_{name}", x, axes=axes, keepdims=0)
    define = {"sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod}[name]
    assert np.array_equal(got, define(x, axis=axes).astype(dtype))


@pytest.mark.parametrize("name", NAMES)
def test_sums_run_in_index_order_whatever_stands_beside(name: str) -> None:
    x = np.random.default_rng(1).standard_normal((33, 7)).astype(np.float32)
    down, across = (
        run(f"reduce_{name}", x, axes=(0,), keepdims=0),
        run(f"reduce_{name}", x.T.copy(), axes=(1,), keepdims=0),
    )
    assert np.array_equal(down, across)
    alone = [run(f"reduce_{name}", x[:, i : i + 1].copy(), axes=(0,), keepdims=0)[0] for i in range(7)]
    assert np.array_equal(down, np.array(alone, np.float32))
    if name == "sum":
        total = np.zeros(7, np.float32)
        for row in x:
            total += row
        assert np.array_equal(down, total)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["max", "min"])
def test_nan_wins(name: str, axis: int) -> None:
    x = np.zeros((3, 3), np.float32)
    x[1, 2], x[0, 0], x[2, 0] = np.nan, np.inf, -np.inf
    assert np.array_equal(
        run(f"reduce_{name}", x, axes=(axis,)), reference(f"reduce_{name}", x, axes=(axis,)), equal_nan=True
    )


def test_reductions_of_nothing() -> None:
    x = np.zeros((2, 0, 3), np.float32)
    assert np.array_equal(run("reduce_sum", x, axes=(1,), keepdims=0), np.zeros((2, 3)))
    assert np.array_equal(run("reduce_prod", x, axes=(1,), keepdims=0), np.ones((2, 3)))
    assert np.all(np.isnan(run("reduce_mean", x, axes=(1,), keepdims=0)))
    assert np.all(run("reduce_max", x, axes=(1,), keepdims=0) == -np.inf)
    assert run("reduce_sum", x, axes=(0,), keepdims=0).shape == (0, 3)


@pytest.mark.parametrize("select_last", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_argmax(dtype: str, axis: int, select_last: int) -> None:
    x = np.random.default_rng(2).integers(-2, 3, (4, 5, 6)).astype(dtype)
    assert np.array_equal(
        run("argmax", x, axis=axis, select_last=select_last), reference("argmax", x, axis=axis, select_last=select_last)
    )


@pytest.mark.parametrize("select_last", [0, 1])
def test_argmax_finds_nan(select_last: int) -> None:
    x = np.array([[1, np.nan, np.inf, np.nan, 5], [-np.inf, -np.inf, -np.inf, -np.inf, -np.inf]], np.float32)
    assert run("argmax", x, axis=1, keepdims=0, select_last=select_last).tolist() == [
        3 if select_last else 1,
        4 * select_last,
    ]


def test_argmax_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        run("argmax", np.zeros((2, 0), np.float32), axis=1)
