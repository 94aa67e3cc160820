import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.errors import UnsupportedError
from tests.machine.kernels.harness import reference, run

SIZES = st.integers(1, 70)


def arrays(rows, inputs, outputs, bias, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (*rows, inputs)).astype(np.float32)
    w = rng.normal(0, 1 / np.sqrt(max(inputs, 1)), (outputs, inputs)).astype(np.float32)
    return x, w, rng.normal(0, 1, outputs).astype(np.float32) if bias else None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 7), max_size=3), st.integers(0, 70), SIZES, st.booleans(), st.integers(0, 2**32 - 1))
def test_agrees_with_the_reference(rows, inputs, outputs, bias, seed):
    x, w, b = arrays(rows, inputs, outputs, bias, seed)
    want = reference("linear", x.astype(np.float32), w, b)
    got = run("linear", x, w, b, constants=(1, 2) if bias else (1,))
    assert want.shape == got.shape
    assert np.all(np.abs(got - want) <= 2e-6 * np.maximum(1, np.abs(want)))


def in_order(x, w, b):
    """The contract: the bias, then k ascending, each step one fused multiply-add (float64 rounds like one here)."""
    total = np.broadcast_to(b, (len(x), len(w))).astype(np.float32)
    for k in range(x.shape[1]):
        # a product of two float32 is exact in float64; the sum is rounded twice, which these values never show
        total = (x[:, k : k + 1].astype(np.float64) * w[:, k] + total).astype(np.float32)
    return total


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("outputs", [1, 15, 16, 17, 64, 100])
def test_sums_in_order_whatever_the_rows(rows, outputs):
    x, w, b = arrays([9], 23, outputs, True, 5)
    got = run("linear", x[:rows], w, b, constants=(1, 2))
    np.testing.assert_array_equal(got, in_order(x, w, b)[:rows])


def test_no_rows():
    x, w, b = arrays([0, 2], 3, 4, True, 0)
    assert run("linear", x, w, b, constants=(1, 2)).shape == (0, 2, 4)


def test_weights_made_at_run_time_are_refused():
    x, w, b = arrays([2], 3, 4, True, 0)
    with pytest.raises(UnsupportedError, match=r"w \('x1'\) is computed at run time"):
        run("linear", x, w, b)
