"""Maximum and minimum as NumPy has them: where one operand is NaN, so is the result."""

from __future__ import annotations

import math

import numba

from edgelstm.machine.simd import select


@numba.njit(error_model="numpy", forceinline=True)
def greatest(a, b):
    """The greater of two vectors, lane by lane."""
    return select((a >= b) | (a != a), a, b)  # noqa: PLR0124  a is NaN


@numba.njit(error_model="numpy", forceinline=True)
def least(a, b):
    """The lesser of two vectors, lane by lane."""
    return select((a <= b) | (a != a), a, b)  # noqa: PLR0124  a is NaN


@numba.njit(error_model="numpy", forceinline=True)
def greater(a, b):
    """The greater of two float32."""
    return a if a >= b or math.isnan(a) else b


@numba.njit(error_model="numpy", forceinline=True)
def lesser(a, b):
    """The lesser of two float32."""
    return a if a <= b or math.isnan(a) else b
