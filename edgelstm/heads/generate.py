"""Generation: a decoder is stepped on its own choices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError
from edgelstm.heads.decoder import Decoder, Row, log_probabilities, open_stream
from edgelstm.heads.samplers import GREEDY, Beam, Sampler
from edgelstm.runtime.model import Model
from edgelstm.runtime.stream import Stream


@dataclass(frozen=True, slots=True)
class Generated:
    """What was generated.

    Attributes:
        ids: (n,) int64, the chosen ids, without those it began with and without the stop id.
        scores: (n,) float64, the natural logarithm of the probability that the model gave each id.
        total: the sum of the scores, that of the stop id included.
        stop: the id that ended it, None where `max_steps` did.
        outputs: (n, V) or with the stop id (n + 1, V), what each choice was made from, as the model gave it; None
            unless asked for.
        others: the next best sequences of a beam search, best first.
    """

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    total: float
    stop: int | None
    outputs: npt.NDArray[Any] | None = None
    others: tuple[Generated, ...] = ()


def generate(
    decoder: Model | Stream,
    start: int | Iterable[int],
    stop: int | Iterable[int] | None,
    max_steps: int,
    sampler: Sampler | Beam = GREEDY,
    *,
    state: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    token: str | None = None,
    output: str | None = None,
    scores: str = "logits",
    encode: Callable[[int], Any] | None = None,
    seed: int = 0,
    keep_outputs: bool = False,
    advance: bool = False,
) -> Generated:
    """Ids that a decoder chooses one after the other, each fed back for the next choice.

    The same arguments give the same ids. A given stream is copied and left as it is, unless `advance` says otherwise.

    Args:
        decoder: a model, which starts from its start state; or a stream, whose state is gone on from.
        start: the id, or the ids, that the decoder is fed first.
        stop: the id, or any of the ids, that ends the sequence; None for no such id.
        max_steps: how many choices are made at most.
        sampler: `Greedy`, `Temperature`, `TopK`, `Beam`, or any other `Sampler`.
        state: what the decoder starts from, by name, such as an encoder's final state (see `Stream.state`).
        context: inputs that are the same at every step, by name, such as an encoder's outputs.
        token: the input that takes the ids, where several are left.
        output: the output that gives the scores, where there are several.
        scores: what that output holds, "logits" (or log probabilities) or "probabilities".
        encode: id → what the input takes, where that is not the id itself.
        seed: of the sampler.
        keep_outputs: whether `Generated.outputs` is wanted.
        advance: leave the given stream at the last choice of the best sequence: fed with `start` and all choices
            before that one. Where an error occurs it stays as it was.

    Raises:
        InputError: an argument does not fit, an id is out of the decoder's range, or an output is no row of scores.
        StateError: `state` does not fit.
        StreamError: the model cannot be streamed, or gives no output after `start`.
    """
    first = _ids(start, "start")
    stops = [] if stop is None else _ids(stop, "stop")
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 1:
        raise InputError(f"max_steps: expected a whole number from 1, got {max_steps!r}")
    if advance and not isinstance(decoder, Stream):
        raise InputError("advance: a model has no state to be advanced; pass a stream")
    stream = open_stream(decoder, context or {})
    if state:
        stream.state = state
    steps = Decoder(stream, token, output, context or {}, encode, scores)
    origin = stream.fork() if advance and isinstance(sampler, Beam) else stream
    begin = _Path(stream, steps.feed_all(stream, first), [], [], [] if keep_outputs else None)
    if isinstance(sampler, Beam):
        paths = _search(steps, begin, stops, max_steps, sampler)
        if advance:
            steps.feed_all(origin, first + paths[0].fed)
    else:
        paths = [_sample(steps, begin, stops, max_steps, sampler, np.random.default_rng(seed))]
    if advance and isinstance(decoder, Stream):
        decoder.follow(origin)
    best, *others = [path.result() for path in paths]
    return replace(best, others=tuple(others))


@dataclass(slots=True)
class _Path:
    """A sequence and the decoder that has made it.

    Attributes:
        stream: has taken all choices but the last where that ends the sequence.
        given: the decoder's last output, from which the next choice is made.
        outputs: what the choices were made from, None where nobody wants them.
    """

    stream: Stream
    given: Any
    choices: list[int]
    scores: list[float]
    outputs: list[Any] | None
    total: float = 0.0
    stop: int | None = None

    @property
    def fed(self) -> list[int]:
        return self.choices[:-1]

    def choose(self, item: int, score: float, stops: Sequence[int]) -> None:
        self.choices.append(item)
        self.scores.append(score)
        self.total += score
        if self.outputs is not None:
            self.outputs.append(np.asarray(self.given).reshape(-1))
        self.stop = item if item in stops else None

    def branch(self, item: int, score: float, stops: Sequence[int]) -> _Path:
        kept = None if self.outputs is None else [*self.outputs]
        path = _Path(self.stream, self.given, [*self.choices], [*self.scores], kept, self.total)
        path.choose(item, score, stops)
        return path

    def result(self) -> Generated:
        count = len(self.choices) - (self.stop is not None)
        return Generated(
            np.array(self.choices[:count], np.int64),
            np.array(self.scores[:count], np.float64),
            self.total,
            self.stop,
            None if self.outputs is None else np.stack(self.outputs),
        )


def _sample(
    steps: Decoder, path: _Path, stops: Sequence[int], max_steps: int, sampler: Sampler, rng: np.random.Generator
) -> _Path:
    for index in range(max_steps):
        if index:
            path.given = steps.feed(path.stream, path.choices[-1])
        scores = steps.scores(path.given)
        _check_stops(stops, scores.size)
        item = sampler.choose(scores, rng)
        if not 0 <= item < scores.size:
            raise InputError(f"sampler: expected an id from 0 to {scores.size - 1}, it chose {item!r}")
        path.choose(int(item), float(log_probabilities(scores)[item]), stops)
        if path.stop is not None:
            break
    return path


def _search(steps: Decoder, begin: _Path, stops: Sequence[int], max_steps: int, beam: Beam) -> list[_Path]:
    """The best sequences, best first, at most as many as the beam is wide."""
    live, ended, spare = [begin], list[_Path](), list[Stream]()

    def rank(path: _Path) -> float:
        return float(path.total / len(path.choices) ** beam.length_penalty)

    for index in range(max_steps):
        rows = [log_probabilities(steps.scores(path.given)) for path in live]
        _check_stops(stops, rows[0].size)
        for path, row in zip(live, rows, strict=True):
            ended += [path.branch(item, float(row[item]), stops) for item in stops if row[item] > -np.inf]
        totals = np.stack([path.total + row for path, row in zip(live, rows, strict=True)])
        totals[:, list(stops)] = -np.inf
        parents, live = live, []
        for place in _highest(totals.reshape(-1), beam.width):
            parent, item = divmod(int(place), totals.shape[1])
            live.append(parents[parent].branch(item, float(rows[parent][item]), stops))
        if index == max_steps - 1:
            ended += live
        ended = sorted(ended, key=rank, reverse=True)[: beam.width]
        best = max((path.total for path in live), default=-np.inf) / max_steps**beam.length_penalty
        if len(ended) == beam.width and best <= rank(ended[-1]):
            break  # scores only fall
        if index < max_steps - 1:
            _feed_beam(steps, parents, live, spare)
    return ended


def _feed_beam(steps: Decoder, parents: Sequence[_Path], live: Sequence[_Path], spare: list[Stream]) -> None:
    """Give every path a decoder of its own, at its parent's state, and feed it its last choice."""
    for path in live:
        source = path.stream
        path.stream = spare.pop() if spare else source.fork()
        path.stream.follow(source)
        path.given = steps.feed(path.stream, path.choices[-1])
    spare += [parent.stream for parent in parents]


def _highest(scores: Row, count: int) -> list[int]:
    """Where the highest scores are, best first; those that are barred left out."""
    places = np.argpartition(-scores, count - 1)[:count] if count < scores.size else np.arange(scores.size)
    ordered = places[np.lexsort((places, -scores[places]))]
    return [int(place) for place in ordered if scores[place] > -np.inf]


def _check_stops(stops: Sequence[int], size: int) -> None:
    if any(item >= size for item in stops):
        raise InputError(f"stop: expected ids from 0 to {size - 1}, got {max(stops)}")


def _ids(value: int | Iterable[int], name: str) -> list[int]:
    given = [value] if isinstance(value, int | np.integer) else list(value) if isinstance(value, Iterable) else [value]
    whole = all(isinstance(item, int | np.integer) and not isinstance(item, bool) and item >= 0 for item in given)
    if not whole or not given:
        raise InputError(f"{name}: expected an id or several, whole numbers from 0, got {value!r}")
    return [int(item) for item in given]
