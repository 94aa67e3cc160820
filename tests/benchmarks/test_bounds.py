"""The bounds beside the figures are those of a real processor."""

from benchmarks.bounds import limits


def test_every_multiply_add_is_done():
    """No core does four vectors of sixteen a cycle at 10 GHz: a higher rate means that the compiler left work out."""
    assert 1e6 < limits().fma_rate < 4 * 16 * 10e9


def test_the_larger_bound_counts():
    few, many = limits().step(1000), limits().step(1_000_000)
    assert 0 < few.microseconds < many.microseconds
    assert {few.reason, many.reason} <= {"bytes", "FMAs"}
