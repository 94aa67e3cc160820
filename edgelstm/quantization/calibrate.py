"""Fixed scales and zero points for the inputs of a layer, from what it saw on calibration data."""

from __future__ import annotations

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array
from edgelstm.quantization.scheme import LEVELS

METHODS = ("minmax", "percentile", "mse")
PERCENTILE = 99.9
CANDIDATES = 64  # ranges that "mse" tries
SPAN = 2 * LEVELS


def input_scale(rows: Array, method: str) -> tuple[float, int]:
    """A scale and zero point for values like these, so that 0 stays 0.

    Args:
        rows: float32, what the layer saw.
        method: "minmax": all fit; "percentile": 99.9 % on either side fit; "mse": the mean square error is least.

    Returns:
        Both; 0 where all values are 0 (then each reading has its own).

    Raises:
        InputError: the method is none of these.
    """
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    values = rows.astype(np.float64).ravel()
    low, high = min(0.0, float(values.min(initial=0.0))), max(0.0, float(values.max(initial=0.0)))
    if method == "percentile":
        below, above = (float(edge) for edge in np.percentile(values, (100 - PERCENTILE, PERCENTILE)))
        low, high = (min(0.0, below), max(0.0, above)) if above > 0 or below < 0 else (low, high)
    tried = range(CANDIDATES, CANDIDATES // 4, -1) if method == "mse" else (CANDIDATES,)
    best, found = np.inf, (0.0, 0)
    for step in tried:
        scale, zero = _fixed(low * step / CANDIDATES, high * step / CANDIDATES)
        if not scale:
            continue
        levels = np.clip(np.rint(values / scale) + zero, -LEVELS, LEVELS)
        error = float(np.mean(((levels - zero) * scale - values) ** 2)) if method == "mse" else 0.0
        if error < best:
            best, found = error, (scale, zero)
    return found


def _fixed(low: float, high: float) -> tuple[float, int]:
    scale = float(np.float32((high - low) / SPAN))
    if not np.isfinite(scale) or scale < np.finfo(np.float32).tiny:
        return 0.0, 0
    return scale, int(np.clip(-LEVELS - np.rint(low / scale), -LEVELS, LEVELS))
