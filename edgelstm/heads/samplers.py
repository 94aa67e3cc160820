"""How the next id is chosen from a row of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError

Row = npt.NDArray[np.float64]


class Sampler(Protocol):
    """Anything with this method chooses ids for `edgelstm.generate`."""

    def choose(self, scores: Row, rng: np.random.Generator, /) -> int:
        """The next id.

        Args:
            scores: (V,) float64 logits or log probabilities; -inf bars an id, at least one is finite.
            rng: the only source of chance.
        """


@dataclass(frozen=True, slots=True)
class Greedy:
    """The id with the highest score; of equal ones the lowest id."""

    def choose(self, scores: Row, _rng: np.random.Generator, /) -> int:
        """See `Sampler`."""
        return int(scores.argmax())


@dataclass(frozen=True, slots=True)
class Temperature:
    """An id drawn with the probability that the model gives it, sharpened or flattened.

    Args:
        temperature: scores are divided by it: below 1 sharper, above 1 flatter.

    Raises:
        InputError: it is not a finite number above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    def choose(self, scores: Row, rng: np.random.Generator, /) -> int:
        """See `Sampler`."""
        return _draw(scores / self.temperature, rng)


@dataclass(frozen=True, slots=True)
class TopK:
    """As `Temperature`, from the k best ids only (of equal scores the lower ids).

    Args:
        k: how many ids are considered; all where there are fewer.
        temperature: as in `Temperature`.

    Raises:
        InputError: k is not a whole number from 1, or the temperature not a finite number above 0.
    """

    k: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_count(self.k, "TopK: k")
        _check_temperature(self.temperature)

    def choose(self, scores: Row, rng: np.random.Generator, /) -> int:
        """See `Sampler`."""
        best = np.argsort(-scores, kind="stable")[: self.k]
        return int(best[_draw(scores[best] / self.temperature, rng)])


@dataclass(frozen=True, slots=True)
class Beam:
    """Not one choice at a time but the best whole sequence, by a search that keeps the `width` likeliest beginnings.

    Every way to stop that a kept beginning has is considered. Sequences are ranked by the sum of their log
    probabilities, that of the stop id included, divided by their number of choices to the power of `length_penalty`.
    A width that holds every beginning finds the best of all.

    Args:
        width: beginnings that are kept; the decoder runs once a step for each.
        length_penalty: 0 ranks by the plain sum, which favours short sequences; 1 by the mean.

    Raises:
        InputError: width is not a whole number from 1, or the penalty not a finite number from 0.
    """

    width: int
    length_penalty: float = 0.0

    def __post_init__(self) -> None:
        _check_count(self.width, "Beam: width")
        penalty = self.length_penalty
        if not isinstance(penalty, int | float) or not 0 <= penalty < np.inf:
            raise InputError(f"Beam: length_penalty: expected a number from 0, got {penalty!r}")


GREEDY = Greedy()


def _draw(scores: Row, rng: np.random.Generator) -> int:
    """An index with a probability in proportion to exp(score)."""
    bounds = np.cumsum(np.exp(scores - scores.max()))
    return int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))


def _check_count(value: int, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name}: expected a whole number from 1, got {value!r}")


def _check_temperature(value: float) -> None:
    if not isinstance(value, int | float) or not 0 < value < np.inf:
        raise InputError(f"temperature: expected a number above 0, got {value!r}; Greedy() is the limit at 0")
