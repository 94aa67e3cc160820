"""A linear-chain CRF's decoder: the best path of tags through emissions, by Viterbi's algorithm.

The score of a path y_1 ... y_T over emissions e (T, K) is

    start[y_1] + sum over t of e[t, y_t] + sum over t > 1 of transitions[y_(t-1), y_t] + end[y_T]

(Lafferty, McCallum and Pereira 2001; Forney 1973 for the algorithm). Scores are summed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError, StateError

Scores = npt.NDArray[np.float64]
Tags = npt.NDArray[np.int64]

NAMES = ("start_transitions", "end_transitions", "transitions")


class CRF:
    """Transition scores between K tags; decodes the emissions that a network gives.

    Args:
        transitions: (K, K); `transitions[i, j]` is the score of going FROM tag i TO tag j, as in pytorch-crf. Pass the
            transpose of a matrix that is kept the other way round. -inf forbids a transition.
        start: (K,) score of beginning with a tag; zeros if not given.
        end: (K,) score of ending with a tag; zeros if not given.

    Raises:
        InputError: a shape does not fit, or a score is NaN or +inf.
    """

    def __init__(self, transitions: Any, start: Any = None, end: Any = None) -> None:
        self.transitions = _scores(transitions, "transitions")
        if self.transitions.ndim != 2 or len({*self.transitions.shape}) != 1 or not self.transitions.size:
            raise InputError(f"transitions: expected (tags, tags), got {self.transitions.shape}")
        self.start, self.end = self._vector(start, "start"), self._vector(end, "end")

    @classmethod
    def from_state_dict(cls, arrays: Mapping[str, Any], prefix: str = "") -> CRF:
        """The CRF whose parameters are `start_transitions`, `end_transitions` and `transitions` below a prefix.

        pytorch-crf and AllenNLP name them so and both keep `transitions` as [from, to].

        Args:
            arrays: name → array or CPU tensor; other names are left alone.
            prefix: what stands before the names, such as "crf." or "crf".

        Raises:
            InputError: a name is missing, or a shape or value does not fit.
        """
        dotted = f"{prefix}." if prefix and not prefix.endswith(".") else prefix
        missing = [dotted + name for name in NAMES if dotted + name not in arrays]
        if missing:
            raise InputError(
                f"state dict: {', '.join(missing)} missing; it has {', '.join(map(str, arrays)) or 'nothing'}; "
                "prefix= says what stands before the names"
            )
        start, end, transitions = (arrays[dotted + name] for name in NAMES)
        return cls(transitions, start, end)

    @property
    def tags(self) -> int:
        """How many tags there are."""
        return len(self.transitions)

    def decode(self, emissions: Any, lengths: Sequence[int] | None = None, mask: Any = None) -> Tags | list[Tags]:
        """The best path of each sequence; of equally good ones the one whose last differing tag is lower.

        Args:
            emissions: (T, K), or (B, T, K) for several sequences; batch first.
            lengths: one length a sequence; what stands behind it is not looked at.
            mask: the same said as (T,) or (B, T): true where a sequence has a step; true first, then false.

        Returns:
            (T,) int64 tags for one sequence, cut at its length; for (B, T, K) a list of such, one a sequence.

        Raises:
            InputError: shapes, lengths or mask do not fit, an emission is NaN or +inf, or no path is allowed.
        """
        array = np.asarray(emissions)
        if array.ndim not in (2, 3) or array.shape[-1] != self.tags:
            raise InputError(
                f"emissions: expected (steps, {self.tags}) or (batch, steps, {self.tags}), got {array.shape}"
            )
        batch = array if array.ndim == 3 else array[None]
        counts = _lengths(batch.shape[:2], lengths, mask)
        paths = [self._best(_scores(row[:count], "emissions")) for row, count in zip(batch, counts, strict=True)]
        return paths if array.ndim == 3 else paths[0]

    def score(self, emissions: Any, tags: Any) -> float:
        """The score of one path, as the module's formula has it.

        Args:
            emissions: (T, K).
            tags: (T,) integers.

        Raises:
            InputError: shapes do not fit, or a tag is out of range.
        """
        rows, path = _scores(emissions, "emissions"), np.asarray(tags)
        if rows.ndim != 2 or rows.shape[1] != self.tags or path.shape != rows.shape[:1]:
            raise InputError(
                f"score: expected emissions (steps, {self.tags}) and as many tags, got {rows.shape} and {path.shape}"
            )
        if not path.size:
            return 0.0
        if path.dtype.kind not in "iu" or path.min() < 0 or path.max() >= self.tags:
            raise InputError(f"tags: expected integers from 0 to {self.tags - 1}, got {path.tolist()}")
        total = self.start[path[0]] + rows[np.arange(len(path)), path].sum() + self.end[path[-1]]
        return float(total + self.transitions[path[:-1], path[1:]].sum())

    def stream(self, lag: int) -> CRFStream:
        """A decoder for emissions that arrive one by one; see `CRFStream`."""
        return CRFStream(self, lag)

    def _best(self, rows: Scores) -> Tags:
        if not len(rows):
            return np.zeros(0, np.int64)
        best, pointers = self.start + rows[0], np.zeros((len(rows), self.tags), np.int64)
        for t in range(1, len(rows)):
            best, pointers[t] = self.advance(best, rows[t])
        return _trace(best + self.end, pointers)

    def advance(self, best: Scores, emission: Scores) -> tuple[Scores, Tags]:
        """One step: the best score of a path to each tag, and which tag each such path comes from."""
        paths = best[:, None] + self.transitions
        pointers = paths.argmax(axis=0)
        return paths[pointers, np.arange(self.tags)] + emission, pointers

    def _vector(self, value: Any, name: str) -> Scores:
        if value is None:
            return np.zeros(self.tags)
        scores = _scores(value, name)
        if scores.shape != (self.tags,):
            raise InputError(f"{name}: expected ({self.tags},) as there are {self.tags} tags, got {scores.shape}")
        return scores


class CRFStream:
    """Decodes emissions as they arrive, each tag `lag` steps late.

    After each emission the best path over all that has been seen is followed back `lag` steps, and the tag found there
    is given for good: from then on only paths that go through it count, so the tags given always form one path. With a
    lag of at least the length of the sequence, and wherever all paths have met within the lag, that is what
    `CRF.decode` gives. One thread at a time. A step costs O(K² + lag · K), or O(lag · K²) where paths had not met.

    Args:
        crf: the scores.
        lag: how many steps late a tag is given; 0 gives it at once.

    Raises:
        InputError: lag is not a whole number from 0.
    """

    def __init__(self, crf: CRF, lag: int) -> None:
        if not isinstance(lag, int) or isinstance(lag, bool) or lag < 0:
            raise InputError(f"lag: expected a whole number of steps from 0, got {lag!r}")
        self.crf, self.lag = crf, lag
        self.reset()

    def reset(self) -> None:
        """Forget the sequence; nothing is flushed."""
        tags = self.crf.tags
        self._steps = 0
        self._best: Scores = np.zeros(tags)
        self._pointers: Tags = np.zeros((0, tags), np.int64)  # of the steps whose tag is not given yet
        self._emissions: Scores = np.zeros((0, tags))  # of the same steps

    def step(self, emission: Any) -> int | None:
        """Take one emission.

        Args:
            emission: (K,).

        Returns:
            The tag of `lag` steps ago, or None while there is none.

        Raises:
            InputError: the emission does not fit or is NaN or +inf, or leaves no allowed path; nothing is changed.
        """
        row = _scores(emission, "emission")
        if row.shape != (self.crf.tags,):
            raise InputError(f"emission: expected ({self.crf.tags},), got {row.shape}")
        if self._steps:
            best, pointers = self.crf.advance(self._best, row)
        else:
            best, pointers = self.crf.start + row, np.zeros(self.crf.tags, np.int64)
        _check_allowed(best)
        self._best = best - best.max()  # only differences matter; a long stream's scores would lose their digits
        self._pointers = np.concatenate([self._pointers, pointers[None]])
        self._emissions = np.concatenate([self._emissions, row[None]])
        self._steps += 1
        return self._settle() if len(self._pointers) > self.lag else None

    def flush(self) -> Tags:
        """End the sequence, end scores considered, and be ready for the next one.

        Returns:
            The tags not given yet, at most `lag`, int64.

        Raises:
            InputError: the end scores allow no path; nothing is changed.
        """
        path = _trace(self._best + self.crf.end, self._pointers)
        self.reset()
        return path

    @property
    def state(self) -> dict[str, npt.NDArray[Any]]:
        """A copy of all that the decoder remembers: steps (), best (K,), pointers and emissions (n, K). Can be set.

        Raises:
            StateError: on setting, something is missing or does not fit; nothing is changed then.
        """
        held = {"best": self._best, "pointers": self._pointers, "emissions": self._emissions}
        return {"steps": np.array(self._steps), **{name: array.copy() for name, array in held.items()}}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        if set(values) != set(self.state):
            raise StateError(f"state: expected {', '.join(self.state)}, got {', '.join(values) or 'nothing'}")
        steps, best, pointers, emissions = (np.asarray(values[name]) for name in self.state)
        tags = self.crf.tags
        if steps.shape != () or steps.dtype.kind not in "iu" or steps < 0:
            raise StateError(f"state: steps: expected a count, got {steps}")
        rows = (min(int(steps), self.lag), tags)
        for name, array, shape in (
            ("best", best, (tags,)),
            ("pointers", pointers, rows),
            ("emissions", emissions, rows),
        ):
            if array.shape != shape or array.dtype.kind not in ("iu" if name == "pointers" else "fiu"):
                raise StateError(
                    f"state: {name}: expected {shape} after {steps} steps, got {array.dtype} {array.shape}"
                )
        if np.isnan(best).any() or best.max() in {np.inf, -np.inf} or np.isnan(emissions).any():
            raise StateError("state: best or emissions hold NaN or +inf, or allow no path")
        if pointers.size and (pointers.min() < 0 or pointers.max() >= tags):
            raise StateError(f"state: pointers: expected tags from 0 to {tags - 1}")
        self._steps, self._best = int(steps), best.astype(np.float64)
        self._pointers, self._emissions = pointers.astype(np.int64), emissions.astype(np.float64)

    def _settle(self) -> int:
        """The oldest open tag of the best path; from now on only paths through it count."""
        origin = np.arange(self.crf.tags)
        for row in self._pointers[:0:-1]:
            origin = row[origin]
        tag = int(origin[self._best.argmax()])
        self._pointers, self._emissions = self._pointers[1:].copy(), self._emissions[1:].copy()
        if (origin[self._best > -np.inf] != tag).any():
            best = np.where(np.arange(self.crf.tags) == tag, 0.0, -np.inf)
            for index, emission in enumerate(self._emissions):
                best, self._pointers[index] = self.crf.advance(best, emission)
            self._best = best - best.max()
        return tag


def _trace(best: Scores, pointers: Tags) -> Tags:
    """The path that ends at the best tag; row t of `pointers` leads from a tag of step t to one of step t - 1."""
    path = np.zeros(len(pointers), np.int64)
    if len(path):
        _check_allowed(best)
        path[-1] = best.argmax()
        for t in range(len(path) - 1, 0, -1):
            path[t - 1] = pointers[t, path[t]]
    return path


def _check_allowed(best: Scores) -> None:
    if best.max() == -np.inf:
        raise InputError("no path is allowed: every one has a score of -inf")


def _scores(value: Any, name: str) -> Scores:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # a tensor that needs its gradient is a RuntimeError
        raise InputError(f"{name}: expected numbers, got {type(value).__name__} ({error})") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name}: expected real numbers, got {array.dtype}")
    scores = array.astype(np.float64)
    if np.isnan(scores).any() or (scores == np.inf).any():
        raise InputError(f"{name}: holds NaN or +inf; expected finite numbers, or -inf for what is forbidden")
    return scores


def _lengths(shape: tuple[int, ...], lengths: Sequence[int] | None, mask: Any) -> list[int]:
    batch, steps = shape
    if mask is None:
        counts = np.full(batch, steps) if lengths is None else np.atleast_1d(lengths)
    elif lengths is not None:
        raise InputError("decode: give lengths or mask, not both")
    else:
        marks = np.atleast_2d(np.asarray(mask)).astype(bool)
        counts = marks.sum(axis=-1)
        if marks.shape != shape or (marks != (np.arange(steps) < counts[:, None])).any():
            raise InputError(f"mask: expected {shape}, true from the first step to the last of a row, got {mask!r}")
    if counts.shape != (batch,) or counts.dtype.kind not in "iu" or (counts < 0).any() or (counts > steps).any():
        raise InputError(f"lengths: expected {batch} integers from 0 to {steps}, got {lengths!r}")
    return [int(count) for count in counts]
