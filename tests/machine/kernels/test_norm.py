from __future__ import annotations

import numpy as np
import pytest

from tests.machine.kernels.harness import reference, run


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_layer_norm(axis: int, bias: bool) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((3, 4, 18)) * 3 + 5).astype(np.float32)
    scale, shift = (rng.standard_normal(x.shape[axis:]).astype(np.float32) for _ in range(2))
    inputs = (x, scale, shift if bias else None)
    got = run("layer_norm", *inputs, constants=(1, 2) if bias else (1,), axis=axis, epsilon=1e-3)
    np.testing.assert_allclose(got, reference("layer_norm", *inputs, axis=axis, epsilon=1e-3), rtol=0, atol=3e-6)


def test_rows_do_not_depend_on_each_other() -> None:
    x = np.random.default_rng(1).standard_normal((5, 33)).astype(np.float32)
    scale = np.ones(33, np.float32)
    whole = run("layer_norm", x, scale, None)
    assert np.array_equal(whole[3:4], run("layer_norm", x[3:4], scale, None))


def test_a_constant_row_gives_the_bias() -> None:
    x = np.full((1, 7), 2.5, np.float32)
    bias = np.arange(7, dtype=np.float32)
    assert np.array_equal(run("layer_norm", x, np.ones(7, np.float32), bias)[0], bias)
