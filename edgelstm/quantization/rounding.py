"""Rounding weights so that their errors cancel in the product.

Rounding each weight to the nearest integer minimises the error of the weight, not of the product. Here the columns
of a matrix are rounded one after another, and the error of each is made up for by the columns that are still to
come, as far as the activations that they meet are correlated. Scales stay as they are.

What is known of the activations are their second moments: from calibration data, the less trusted the fewer rows
there are; without data, that inputs share a common level (spectra, counts, sensors with an offset), so that the
errors of a row should about sum to nothing.

Source: Frantar et al. 2022 (arXiv:2210.17323), GPTQ, after Hassibi & Stork 1993.
"""

from __future__ import annotations

import numpy as np

from edgelstm.graph.ir import Array
from edgelstm.quantization.scheme import LEVELS

DAMPING = 0.1  # of the mean square of a column, at least: what data show by chance must not rule
LEVEL = 0.1  # square of the common level of inputs beside their own variance, where nothing is known
MAX_ROWS = 8192  # of data: more change little
MAX_COLUMNS = 4096


def round_to(w: Array, scale: Array, rows: Array) -> Array:
    """Weights (out, in) as int8, for activations like some that are known.

    Args:
        w: float32.
        scale: (out, 1), see `scheme.quantize_weights`.
        rows: (n, in), what the matrix is multiplied with.
    """
    return _round(w, scale, _moments(rows))


def round_blind(w: Array, scale: Array) -> Array:
    """Weights (out, in) as int8, for inputs of which nothing is known but that they may share a level."""
    columns = w.shape[1]
    return _round(w, scale, np.eye(columns) + LEVEL if columns <= MAX_COLUMNS else None)


def _round(w: Array, scale: Array, moments: Array | None) -> Array:
    nearest = np.clip(np.rint(w / scale), -LEVELS, LEVELS).astype(np.int8)
    try:
        factor = None if moments is None else np.linalg.cholesky(np.linalg.inv(moments)).T
    except np.linalg.LinAlgError:
        factor = None
    if factor is None:
        return nearest
    rest, steps = w.astype(np.float64), scale[:, 0].astype(np.float64)
    found = np.empty_like(nearest)
    for column in range(w.shape[1]):
        level = np.clip(np.rint(rest[:, column] / steps), -LEVELS, LEVELS)
        found[:, column] = level
        error = (rest[:, column] - level * steps) / factor[column, column]
        rest[:, column + 1 :] -= error[:, None] * factor[column, column + 1 :]
    return found


def _moments(rows: Array) -> Array | None:
    """Second moments, those that data show held back as their number says; None where there are none."""
    count, columns = rows.shape
    if not count or columns > MAX_COLUMNS:
        return None
    data = rows[:: -(-count // MAX_ROWS)].astype(np.float64)
    found: Array = data.T @ data
    size = float(np.mean(np.diag(found)))
    if not np.isfinite(size) or size <= 0:
        return None
    found[np.diag_indices_from(found)] += max(DAMPING, columns / len(data)) * size
    return found
