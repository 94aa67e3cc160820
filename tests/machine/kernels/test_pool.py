from __future__ import annotations

import numpy as np
import pytest

from tests.machine.kernels.harness import reference, run

# x, kernel, strides, pads, dilations
CASES = [
    ((2, 4, 11), (3,), (1,), (0, 0), (1,)),
    ((2, 4, 11), (3,), (2,), (1, 2), (2,)),
    ((1, 1, 1), (1,), (1,), (0, 0), (1,)),
    ((1, 2, 3), (2,), (1,), (4, 4), (3,)),
    ((2, 3, 9, 11), (3, 2), (2, 1), (1, 0, 1, 1), (1, 2)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_max_pool(case: tuple) -> None:
    shape, kernel, strides, pads, dilations = case
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    attrs = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    assert np.array_equal(run("max_pool", x, **attrs), reference("max_pool", x, **attrs).astype(np.float32))


def test_nan_wins_and_padding_never_does() -> None:
    x = np.array([[[-5.0, np.nan, -7.0, -9.0]]], np.float32)
    got = run("max_pool", x, kernel=(2,), strides=(1,), pads=(1, 1), dilations=(1,))
    assert np.array_equal(got[0, 0], np.array([-5, np.nan, np.nan, -7, -9], np.float32), equal_nan=True)


@pytest.mark.parametrize("padded", [0, 1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_avg_pool(case: tuple, padded: int) -> None:
    shape, kernel, strides, pads, dilations = case
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    attrs = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations, "count_include_pad": padded}
    np.testing.assert_allclose(run("avg_pool", x, **attrs), reference("avg_pool", x, **attrs), rtol=2e-6, atol=1e-6)
