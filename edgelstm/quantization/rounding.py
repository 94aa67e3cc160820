"""Rounding weights so that their errors cancel on the calibration data.

Rounding each weight to the nearest integer minimises the error of the weight, not of the product. Here the columns
of a matrix are rounded one after another, and the error of each is made up for by the columns that are still to
come, as far as the data correlate them. Scales stay as they are.

Source: Frantar et al. 2022 (arXiv:2210.17323), GPTQ, after Hassibi & Stork 1993.
"""

from __future__ import annotations

import numpy as np

from edgelstm.graph.ir import Array
from edgelstm.quantization.scheme import LEVELS

DAMPING = 0.01  # of the mean square of a column, so that columns that hardly vary carry no large corrections
MAX_ROWS = 8192  # of data: more change little
MAX_COLUMNS = 4096


def round_to(w: Array, scale: Array, rows: Array) -> Array:
    """Weights (out, in) as int8.

    Args:
        w: float32.
        scale: (out, 1), see `scheme.quantize_weights`.
        rows: (n, in), what the matrix is multiplied with.
    """
    nearest = np.clip(np.rint(w / scale), -LEVELS, LEVELS).astype(np.int8)
    factor = _factor(rows)
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


def _factor(rows: Array) -> Array | None:
    """The upper Cholesky factor of the inverse of the data's second moments; None where there is none."""
    if not len(rows) or rows.shape[1] > MAX_COLUMNS:
        return None
    data = rows[:: -(-len(rows) // MAX_ROWS)].astype(np.float64)
    moments = data.T @ data
    size = float(np.mean(np.diag(moments)))
    if not np.isfinite(size) or size <= 0:
        return None
    moments[np.diag_indices_from(moments)] += DAMPING * size
    try:
        factor: Array = np.linalg.cholesky(np.linalg.inv(moments)).T
    except np.linalg.LinAlgError:
        return None
    return factor
