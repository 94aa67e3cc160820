"""Fixed scales for the inputs of a layer, from what it saw on calibration data."""

from __future__ import annotations

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array
from edgelstm.quantization.scheme import LEVELS

METHODS = ("minmax", "percentile", "mse")
PERCENTILE = 99.9
CANDIDATES = 64  # limits that "mse" tries


def input_scale(rows: Array, method: str) -> float:
    """A scale for values like these.

    Args:
        rows: float32, what the layer saw.
        method: "minmax": the largest fits; "percentile": 99.9 % of them fit; "mse": the mean square error is least.

    Returns:
        The scale, 0 where all values are 0 (then each reading has its own).

    Raises:
        InputError: the method is none of these.
    """
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    sizes = np.abs(rows.astype(np.float64)).ravel()
    limit = float(sizes.max(initial=0.0))
    if method == "percentile":
        limit = float(np.percentile(sizes, PERCENTILE)) or limit
    elif method == "mse":
        limit = _least_error(sizes, limit)
    scale = np.float32(limit / LEVELS)
    return float(scale) if np.isfinite(scale) and scale >= np.finfo(np.float32).tiny else 0.0


def _least_error(sizes: Array, limit: float) -> float:
    best, found = np.inf, limit
    for step in range(CANDIDATES, CANDIDATES // 4, -1):
        tried = limit * step / CANDIDATES
        scale = tried / LEVELS
        if not scale:
            continue
        error = float(np.mean((np.minimum(np.rint(sizes / scale), LEVELS) * scale - sizes) ** 2))
        if error < best:
            best, found = error, tried
    return found
