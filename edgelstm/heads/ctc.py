"""Greedy decoding of CTC outputs (Graves et al. 2006).

The best label of each frame, repeats merged, blanks left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError, StateError

Labels = npt.NDArray[np.int64]


class CTC:
    """Greedy CTC decoding.

    Args:
        labels: how many scores a frame has, the blank among them.
        blank: index of the blank; PyTorch and ONNX models mostly have 0, TensorFlow's the last one, -1.

    Raises:
        InputError: the blank is not one of the labels.
    """

    def __init__(self, labels: int, blank: int = 0) -> None:
        if not isinstance(labels, int) or labels < 1:
            raise InputError(f"labels: expected a whole number from 1, got {labels!r}")
        if not isinstance(blank, int) or not -labels <= blank < labels:
            raise InputError(f"blank: expected an index into {labels} labels, got {blank!r}")
        self.labels, self.blank = labels, blank % labels

    def decode(self, frames: Any, lengths: Sequence[int] | None = None) -> Labels | list[Labels]:
        """The labels of whole sequences.

        Args:
            frames: (T, labels) or (B, T, labels) scores, logits or (log) probabilities alike.
            lengths: how many frames each row has; what stands behind is not looked at.

        Returns:
            (n,) int64 for one sequence; a list of such for a batch. Of equal scores the lower label wins.

        Raises:
            InputError: shapes or lengths do not fit, or a score is NaN.
        """
        array = np.asarray(frames)
        if array.ndim not in (2, 3):
            raise InputError(
                f"frames: expected (frames, {self.labels}) or (batch, frames, {self.labels}), got {array.shape}"
            )
        batch = array if array.ndim == 3 else array[None]
        counts = np.full(len(batch), batch.shape[1]) if lengths is None else np.atleast_1d(lengths)
        whole = counts.shape == (len(batch),) and counts.dtype.kind in "iu"
        if not whole or (counts < 0).any() or (counts > batch.shape[1]).any():
            raise InputError(f"lengths: expected {len(batch)} integers from 0 to {batch.shape[1]}, got {lengths!r}")
        found = [self.stream().run(row[:count]) for row, count in zip(batch, counts, strict=True)]
        return found if array.ndim == 3 else found[0]

    def stream(self) -> CTCStream:
        """A decoder for frames that arrive one by one or in pieces."""
        return CTCStream(self)


class CTCStream:
    """Decodes frames as they arrive; repeats are merged across calls too. One thread at a time."""

    def __init__(self, ctc: CTC) -> None:
        self.ctc = ctc
        self.reset()

    def reset(self) -> None:
        """Forget the last frame."""
        self._last = self.ctc.blank

    def step(self, frame: Any) -> int | None:
        """The label that this frame begins, or None where it begins none.

        Raises:
            InputError: the frame does not fit or holds NaN; nothing is changed.
        """
        found = self.run(np.asarray(frame)[None])
        return int(found[0]) if len(found) else None

    def run(self, frames: Any) -> Labels:
        """The labels that these frames begin.

        Args:
            frames: (n, labels).

        Raises:
            InputError: the frames do not fit or hold NaN; nothing is changed.
        """
        array = np.asarray(frames)
        if array.ndim != 2 or array.shape[1] != self.ctc.labels or array.dtype.kind not in "fiu":
            raise InputError(f"frames: expected numbers (frames, {self.ctc.labels}), got {array.dtype} {array.shape}")
        if np.isnan(array).any():
            raise InputError(f"frames: NaN in frame {int(np.isnan(array).any(axis=1).argmax())}; nothing was decoded")
        best = array.argmax(axis=1)
        before = np.concatenate([[self._last], best[:-1]])
        if len(best):
            self._last = int(best[-1])
        labels: Labels = best[(best != before[: len(best)]) & (best != self.ctc.blank)].astype(np.int64)
        return labels

    @property
    def state(self) -> dict[str, npt.NDArray[Any]]:
        """A copy of what the decoder remembers: "last" (), the label of the last frame. Can be set.

        Raises:
            StateError: on setting, it is not a label; nothing is changed then.
        """
        return {"last": np.array(self._last)}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        last = np.asarray(values.get("last"))
        whole = set(values) == {"last"} and last.shape == () and last.dtype.kind in "iu"
        if not whole or not 0 <= last < self.ctc.labels:
            raise StateError(f"state: expected last, a label from 0 to {self.ctc.labels - 1}, got {dict(values)}")
        self._last = int(last)
