"""Activations on 8 bits: what a product computes on where its node says `int8`.

A row of activations is replaced by q · s, with q = round(x / s) an integer within ±127 (ties to even) and one scale s for
the row: max |x| / 127, so that nothing saturates; or a fixed one, found by calibration, where larger values saturate;
or, for a state that stays within ±1, max(1, max |h|) / 127. Rows below 2**-100 count as zero, rows with NaN or Inf give
NaN. The weights that it meets are int8 times their scales; the sums of integers are exact, so a product in floats on
these values is the same up to its rounding.

Source: the symmetric scheme of Jacob et al. 2018 (arXiv:1712.05877), section 2, without zero points.
"""

from __future__ import annotations

import numpy as np

from edgelstm.reference.arguments import Array, Attrs, number, texts

LEVELS = 127
TINY = 2.0**-100


def quantize(x: Array, axis: int = -1, scale: float = 0.0, least: float = 0.0) -> Array:
    """x on 8 bits, one scale for each row along `axis`.

    Args:
        scale: a fixed scale; 0: from each row.
        least: the scale is at least that of a row of this size.
    """
    kind = x.dtype.type
    if scale:
        step: Array = np.full((1,) * x.ndim, scale, x.dtype)
        inverse = (kind(1) / step).astype(x.dtype)
        valid = np.isfinite(x).all(axis, keepdims=True)
    else:
        limit = np.maximum(np.abs(x).max(axis, keepdims=True, initial=0), kind(least))
        valid = np.isfinite(limit)
        some = valid & (limit >= TINY)
        step = np.where(some, limit / kind(LEVELS), kind(0))
        inverse = np.where(some, kind(LEVELS) / np.where(some, limit, 1), kind(0))
    q = np.clip(np.rint(np.where(valid, x, 0) * inverse), -LEVELS, LEVELS)
    return np.where(valid, q * step, kind(np.nan)).astype(x.dtype)


def roles(attrs: Attrs) -> tuple[str, ...]:
    """The products that a node computes on 8 bits."""
    return texts(attrs, "int8") if "int8" in attrs else ()


def inputs(x: Array, attrs: Attrs, axis: int = -1) -> Array:
    """The inputs of a layer, on 8 bits where its node says so."""
    return quantize(x, axis, number(attrs, "x_scale")) if "x" in roles(attrs) else x


def state(h: Array, attrs: Attrs, bounded: bool, role: str = "h") -> Array:
    """The state before a step, (B, n), on 8 bits where its node says so."""
    return quantize(h, least=1.0 if bounded else 0.0) if role in roles(attrs) else h
