"""How far a quantized model may be from the float one, output by output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array

USUAL_MAX = 0.05  # of the range of an output
USUAL_RMS = 0.0025


@dataclass(frozen=True, slots=True)
class Error:
    """The largest and the root-mean-square difference from the float model on the calibration data."""

    max: float
    rms: float


@dataclass(frozen=True, slots=True)
class Output:
    """One float output.

    Attributes:
        name: of the output.
        error: as the model is now.
        allowed: at most; inf where anything is.
    """

    name: str
    error: Error
    allowed: Error


def check_tolerance(tolerance: float | None, calibrated: bool) -> None:
    """Raises InputError where a tolerance is no number from 0 on, or cannot be judged for want of data."""
    if tolerance is None or tolerance == math.inf:
        return
    if not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance}: expected a number from 0 on, or inf")
    if not calibrated:
        raise InputError(f"tolerance is {tolerance}: it needs calibration data; without, only inf has a meaning")


def allowances(expected: Mapping[str, Array], tolerance: float | None) -> dict[str, Error]:
    """What each float output may differ by.

    Args:
        expected: the float model's outputs.
        tolerance: the largest difference of any; None: 5 % of an output's own range at most, 0.25 % root mean square.
    """
    floats = {name: value for name, value in expected.items() if value.dtype == np.float32 and value.size}
    if tolerance is not None:
        return dict.fromkeys(floats, Error(tolerance, math.inf))
    spans = {name: float(np.ptp(value)) for name, value in floats.items()}
    return {name: Error(USUAL_MAX * span, USUAL_RMS * span) for name, span in spans.items()}


def differences(expected: Mapping[str, Array], got: Mapping[str, Array]) -> dict[str, Error]:
    """The difference of each float output; infinite where one is not finite."""
    found = {}
    for name, value in expected.items():
        if value.dtype != np.float32 or not value.size:
            continue
        far = (got[name].astype(np.float64) - value.astype(np.float64)).ravel()
        finite = bool(np.isfinite(far).all())
        found[name] = (
            Error(float(np.abs(far).max()), float(np.sqrt(np.mean(far**2)))) if finite else Error(math.inf, math.inf)
        )
    return found


def difference(expected: Mapping[str, Array], got: Mapping[str, Array]) -> Error:
    """The largest difference of all float outputs, and the root mean square over all their numbers."""
    errors = differences(expected, got)
    count = sum(expected[name].size for name in errors)
    squares = sum(error.rms**2 * expected[name].size for name, error in errors.items())
    return Error(max((error.max for error in errors.values()), default=0.0), math.sqrt(squares / max(1, count)))


def limited(allowed: Error) -> bool:
    """Whether there is any limit."""
    return min(allowed.max, allowed.rms) < math.inf


def excess(errors: Mapping[str, Error], allowed: Mapping[str, Error]) -> float:
    """How many times the allowance the worst output uses: past it above 1."""
    shares = [
        _share(value, limit)
        for name, error in errors.items()
        for value, limit in ((error.max, allowed[name].max), (error.rms, allowed[name].rms))
    ]
    return max(shares, default=0.0)


def _share(value: float, limit: float) -> float:
    if limit == math.inf or value == 0:
        return 0.0
    return value / limit if limit > 0 else math.inf
