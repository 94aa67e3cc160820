"""Activations on 8 bits: what a product computes on where its node says `int8`.

A row of activations is replaced by (q - z) s, with q = round(x / s) + z an integer within ±127 (ties to even), one
scale s and one zero point z for the row:

- from the row's own range: with low = min(x, 0) and high = max(x, 0), s = (high - low) / 254 and
  z = -127 - round(low / s), so that nothing saturates and 0 stays 0;
- fixed ones, found by calibration, where values outside saturate;
- for a state that stays within ±1: z = 0 and s = max(1, max |h|) / 127.

Rows with a scale below 2**-100 count as zero, rows with NaN or Inf give NaN. The weights that they meet are int8 times
their scales; the sums of integers are exact, so a product in floats on these values is the same up to its rounding.

Source: Jacob et al. 2018 (arXiv:1712.05877), section 2.
"""

from __future__ import annotations

import numpy as np

from edgelstm.reference.arguments import Array, Attrs, integer, number, texts

LEVELS = 127
TINY = 2.0**-100


def quantize(x: Array, axis: int = -1, scale: float = 0.0, zero: int = 0, least: float = 0.0) -> Array:
    """x on 8 bits, one scale for each row along `axis`.

    Args:
        x: float32 or float64.
        axis: along which a row runs.
        scale: a fixed scale; 0: from each row.
        zero: the zero point that goes with a fixed scale.
        least: above 0: symmetric, for values within at least this range.
    """
    kind = x.dtype.type
    valid = np.isfinite(x).all(axis, keepdims=True)
    x = np.where(valid, x, kind(0))
    high, low = x.max(axis, keepdims=True, initial=0), x.min(axis, keepdims=True, initial=0)
    shift: Array = np.zeros_like(high)
    if scale:
        step = np.full_like(high, scale)
        inverse = kind(1) / step
        shift = np.full_like(high, zero)
    elif least:
        limit = np.maximum(np.maximum(high, -low), kind(least))
        step, inverse = limit / kind(LEVELS), kind(LEVELS) / limit
    else:
        step = high / kind(2 * LEVELS) - low / kind(2 * LEVELS)
        some = step >= TINY
        inverse = np.where(some, kind(1) / np.where(some, step, 1), 0).astype(x.dtype)
        step = np.where(some, step, 0)
        shift = np.where(some, -kind(LEVELS) - np.rint(low * inverse), 0)
    q = np.clip(np.rint(x * inverse) + shift, -LEVELS, LEVELS)
    found: Array = np.where(valid, (q - shift) * step, kind(np.nan)).astype(x.dtype)
    return found


def roles(attrs: Attrs) -> tuple[str, ...]:
    """The products that a node computes on 8 bits."""
    return texts(attrs, "int8") if "int8" in attrs else ()


def inputs(x: Array, attrs: Attrs, axis: int = -1) -> Array:
    """The inputs of a layer, on 8 bits where its node says so."""
    return quantize(x, axis, number(attrs, "x_scale"), integer(attrs, "x_zero")) if "x" in roles(attrs) else x


def state(h: Array, attrs: Attrs, bounded: bool, role: str = "h") -> Array:
    """The state before a step, (B, n), on 8 bits where its node says so."""
    return quantize(h, least=1.0 if bounded else 0.0) if role in roles(attrs) else h
