"""Anomaly scores: how far a reading is from what the model foretold, in units of what is usual for its key.

The scale is 1.4826 times a running median of |residual| (for normal residuals: their standard deviation). The median
moves a small step towards each new value (Robbins & Monro 1951), so that an outlier, however large, moves it no more
than any other value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NORMAL = 1.4826


@dataclass(frozen=True, slots=True)
class AnomalyRule:
    """What is compared, and from which score on it is flagged.

    Attributes:
        feature: index of the feature that is foretold.
        output: index of the output that foretells it for the next reading.
        threshold: scores above are flagged.
        warmup: residuals of a key before its scores count.
        rate: how fast the median moves, as a part of itself.
        floor: the least scale, in units of the feature.
    """

    feature: int = 0
    output: int = 0
    threshold: float = 6.0
    warmup: int = 50
    rate: float = 0.05
    floor: float = 1e-6


class Scale:
    """The running scale of one key, and the forecast that the next reading is held against."""

    __slots__ = ("count", "forecast", "median")

    def __init__(self) -> None:
        self.median, self.count, self.forecast = 0.0, 0, math.nan

    def score(self, rule: AnomalyRule, value: float) -> tuple[float, bool]:
        """The score of a reading and whether it is flagged; NaN and not, while nothing is foretold or usual."""
        if math.isnan(self.forecast) or math.isnan(value):
            return math.nan, False
        size = abs(value - self.forecast)
        result = math.nan
        if self.count >= rule.warmup:
            result = size / max(_NORMAL * self.median, rule.floor)
        self._learn(rule, size)
        return result, result > rule.threshold

    def _learn(self, rule: AnomalyRule, size: float) -> None:
        self.count += 1
        if self.count <= rule.warmup:  # a coarse start: larger steps, and straight to the first value
            step = max(self.median, size if self.count == 1 else 0.0) / math.sqrt(self.count)
        else:
            step = rule.rate * self.median
        step = max(step, rule.floor * rule.rate)
        self.median = (
            size
            if self.count == 1
            else self.median + math.copysign(min(step, abs(size - self.median)), size - self.median)
        )

    def forget(self) -> None:
        """The stream was reset: what was foretold does not hold."""
        self.forecast = math.nan

    def save(self) -> list[Any]:
        """As JSON can hold it."""
        return [self.median, self.count, None if math.isnan(self.forecast) else self.forecast]

    def load(self, saved: Sequence[Any]) -> None:
        """The inverse of `save`."""
        self.median, self.count = saved[0], saved[1]
        self.forecast = math.nan if saved[2] is None else saved[2]
