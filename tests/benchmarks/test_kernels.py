"""The comparison of kernels with their baseline: what is noise, and what is a regression."""

import pytest

from benchmarks.kernels.compare import slower


@pytest.mark.parametrize(
    ("before", "after", "regressed"),
    [
        ([1.00, 1.01, 1.00], [1.10, 1.11, 1.10], True),
        ([1.00, 1.01, 1.00], [1.02, 1.02, 1.02], False),  # less than what memory layout does
        ([1.00, 1.20, 1.00], [1.25, 1.26, 1.25], False),  # the baseline itself is as uncertain
        ([1.00, 1.01, 1.00], [1.10, 1.40, 1.10], False),  # the new figures are
        ([1.00, 1.01, 1.00], [0.50, 0.51, 0.50], False),
    ],
)
def test_slower_beyond_noise(before, after, regressed):
    assert bool(slower({"kernel": before}, {"kernel": after})) is regressed


def test_a_new_kernel_has_nothing_to_be_slower_than():
    assert slower({}, {"kernel": [1.0]}) == []
