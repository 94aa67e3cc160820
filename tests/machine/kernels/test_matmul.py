from __future__ import annotations

import numpy as np
import pytest

from edgelstm.program.lowering import lower
from tests.machine.kernels.harness import graph, run

SHAPES = [
    ((5, 7), (7, 19)),
    ((1, 7), (7, 130)),
    ((9, 64), (64, 16)),
    ((7,), (7,)),
    ((7,), (4, 7, 3)),
    ((4, 3, 7), (7,)),
    ((2, 3, 5, 7), (3, 7, 17)),
    ((5, 7), (2, 3, 7, 4)),
    ((2, 1, 9, 7), (1, 3, 7, 20)),
    ((2, 3, 5, 7), (7, 4)),
    ((1, 1, 5, 7), (7, 4)),
    ((3, 0), (0, 4)),
    ((0, 3), (3, 4)),
]


def pair(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(left).astype(np.float32), rng.standard_normal(right).astype(np.float32)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = pair(*shapes)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    got = run("matmul", a, b)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("columns", [1, 16, 64, 70])
def test_blocks_do_not_change_a_bit(rows: int, columns: int) -> None:
    a, b = pair((9, 33), (33, 140))
    whole = run("matmul", a, b)
    assert np.array_equal(run("matmul", a[:rows].copy(), b[:, :columns].copy()), whole[:rows, :columns])


def test_rows_of_a_batch_become_one_product() -> None:
    a, b = pair((6, 2, 4), (4, 5))
    row = lower(graph("matmul", [a, b])).code[0]
    assert row[4] == 12  # m


def test_many_batch_axes() -> None:
    a, b = pair((2, 1, 2, 1, 3, 4), (1, 3, 1, 2, 4, 5))
    np.testing.assert_allclose(run("matmul", a, b), a @ b, rtol=0, atol=5e-6)
