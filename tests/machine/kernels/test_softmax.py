from __future__ import annotations

import numpy as np
import pytest

from tests.machine.kernels.harness import reference, run


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("scale", [0.1, 10.0, 200.0])
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_softmax(op: str, scale: float, axis: int) -> None:
    x = (np.random.default_rng(0).standard_normal((3, 19, 18)) * scale).astype(np.float32)
    np.testing.assert_allclose(run(op, x, axis=axis), reference(op, x, axis=axis), rtol=1e-6, atol=3e-7)


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_the_axis_may_stand_anywhere_with_the_same_bits(op: str) -> None:
    x = np.random.default_rng(1).standard_normal((5, 37)).astype(np.float32)
    across, down = run(op, x, axis=1), run(op, x.T.copy(), axis=0)
    assert np.array_equal(across, down.T)
    assert np.array_equal(across[2:3], run(op, x[2:3], axis=1))


def test_extreme_rows() -> None:
    x = np.array([[np.inf, 0, 0], [-np.inf, 0, 0], [np.nan, 0, 0], [-np.inf, -np.inf, -np.inf]], np.float32)
    for axis, rows in ((1, x), (0, x.T.copy())):
        expected = reference("softmax", rows, axis=axis)
        np.testing.assert_allclose(run("softmax", rows, axis=axis), expected, rtol=1e-6)


def test_empty() -> None:
    assert run("softmax", np.zeros((0, 3), np.float32), axis=1).shape == (0, 3)
