"""Errors do not grow over long runs, against float64."""

import pytest

from tests.quantization.long_runs import forecaster, rms_by_window, silero

pytest.importorskip("onnx")


def test_errors_do_not_grow():
    """Over ten times as many steps at most three times the error; a million are reported in docs/quantization.md."""
    first, later = rms_by_window(silero(10_000), (1_000, 10_000))
    assert 0 < later <= 3 * first


@pytest.mark.slow
@pytest.mark.parametrize("run", [forecaster, silero])
def test_errors_do_not_grow_over_a_hundred_thousand_steps(run):
    first, later = rms_by_window(run(100_000), (10_000, 100_000))
    assert 0 < later <= 3 * first
