"""A model seen as a decoder: one id in, the scores of the next one out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.dims import BATCH, TIME, symbol, symbols
from edgelstm.graph.ir import TensorType
from edgelstm.runtime.model import Model
from edgelstm.runtime.stream import Stream

Row = npt.NDArray[np.float64]

KINDS = ("logits", "probabilities")
SUM_TOLERANCE = 1e-3  # of probabilities in float32


class Decoder:
    """How a stream's input and output are used as ids and scores; the streams themselves are handed in.

    Args:
        stream: gives names and shapes.
        token: the input that takes ids; may be left out where only one input is not in `context`.
        output: the output that gives scores; may be left out where there is one.
        context: the other inputs, the same at every step.
        encode: id → what the input takes, where that is not the id itself.
        kind: "logits" or "probabilities".

    Raises:
        InputError: a name is unknown or left out where it is needed, or ids cannot go in as they are.
    """

    def __init__(
        self,
        stream: Stream,
        token: str | None,
        output: str | None,
        context: Mapping[str, Any],
        encode: Callable[[int], Any] | None,
        kind: str,
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"scores: expected {' or '.join(KINDS)}, got {kind!r}")
        if unknown := [name for name in context if name not in stream.inputs]:
            raise InputError(f"context: no input is called {unknown[0]!r}; there are {', '.join(stream.inputs)}")
        self._context = {name: np.asarray(value) for name, value in context.items()}
        rest = [name for name in stream.inputs if name not in context]
        self._token = _named(token, rest, "token", "inputs besides the context")
        if len(rest) > 1:
            others = ", ".join(name for name in rest if name != self._token)
            raise InputError(f"context: values for the inputs {others} are missing")
        self._output = _named(output, list(stream.outputs), "output", "outputs")
        self._encode, self._kind = encode, kind
        taken = stream.inputs[self._token]
        if encode is None and (taken.dtype in {"float32", "bool"} or any(size != 1 for size in taken.shape)):
            raise InputError(
                f"input {self._token!r} takes {taken}, not an id; pass encode=, a function from id to what it takes, "
                "such as encode=np.eye(vocabulary).__getitem__ for one-hot vectors"
            )

    def feed(self, stream: Stream, token: int) -> Any:
        """Step a stream on an id; gives what the scores are read from, None where the model has no output yet."""
        value = token if self._encode is None else self._encode(token)
        result = stream.step({self._token: value, **self._context} if self._context else value)
        return result[self._output] if isinstance(result, dict) else result

    def feed_all(self, stream: Stream, tokens: Sequence[int]) -> Any:
        """`feed` one after the other; gives what the last one gives."""
        given = None
        for token in tokens:
            given = self.feed(stream, token)
        return given

    def scores(self, output: Any) -> Row:
        """Logits or log probabilities, float64, (V,).

        Raises:
            StreamError: there is no output.
            InputError: the output is no row of scores, or is not what `kind` says.
        """
        if output is None:
            raise StreamError(
                "generate: the decoder has no output yet; begin with as many ids as its window or latency needs"
            )
        row = np.asarray(output, np.float64)
        if row.size != row.shape[-1] if row.ndim else True:
            raise InputError(f"output {self._output!r}: expected one row of scores, got shape {row.shape}")
        row = row.reshape(-1)
        total = row.sum() if row.min() >= 0 else np.nan
        if np.isnan(row).any() or row.max() in {np.inf, -np.inf}:
            raise InputError(f"output {self._output!r} holds NaN or +Inf, or bars every id")
        likely = abs(total - 1) <= SUM_TOLERANCE
        if self._kind == "probabilities":
            if not likely:
                raise InputError(f"output {self._output!r} does not hold probabilities; pass scores='logits'")
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(row))
        if likely and row.size > 1:
            raise InputError(
                f"output {self._output!r} looks like probabilities (sum {total:.6f}); pass scores='probabilities'"
            )
        return row


def log_probabilities(scores: Row) -> Row:
    """Normalized; logits and log probabilities both become log probabilities."""
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def open_stream(decoder: Model | Stream, context: Mapping[str, Any]) -> Stream:
    """A stream of its own: a model's first, or a copy of the given one.

    Raises:
        InputError: it is neither.
        StreamError: the model cannot be streamed.
    """
    if isinstance(decoder, Stream):
        return decoder.fork()
    if not isinstance(decoder, Model):
        raise InputError(f"decoder: expected a Model or a Stream, got {type(decoder).__name__}")
    sizes: dict[str, int] = {}
    for name, value in context.items():
        if name in decoder.inputs:
            sizes |= _sizes(decoder.inputs[name], np.shape(value))
    return decoder.stream(sizes=sizes)


def _sizes(kind: TensorType, shape: tuple[int, ...]) -> dict[str, int]:
    """Free sizes that a context array settles; it has no batch axis."""
    dims = [dim for dim in kind.shape if BATCH not in symbols(dim)]
    if len(dims) != len(shape):
        return {}
    pairs = zip(dims, shape, strict=True)
    return {name: size for dim, size in pairs for name in symbols(dim) if dim == symbol(name) and name != TIME}


def _named(name: str | None, names: list[str], what: str, where: str) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise InputError(f"{what}: expected one of the {where} ({', '.join(names) or 'none'}), got {name!r}")
    return name
