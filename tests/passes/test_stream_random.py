"""Random models that stream, with windows, running reductions, histories and strides, against the whole sequence."""

import numpy as np
import pytest

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.dims import BATCH, TIME, symbol, symbols
from edgelstm.graph.ir import Graph
from edgelstm.passes.stream import to_step
from edgelstm.runtime.model import Model
from tests.strategies import MAKERS, Builder, Case, RejectError

pytest.importorskip("numba")

QUICK = 100
SOAK = 3000
TOLERANCE = 2e-6


class Streams(Builder):
    """Grows whatever graph the stream pass takes."""

    def attempt(self, op):
        kept = len(self.nodes), len(self.values), len(self.states), set(self.constants), set(self.inputs)
        if not super().attempt(op):
            return False
        if self.takes({}):
            return True
        self.undo(*kept)
        return False

    def takes(self, outputs):
        graph = Graph(self.inputs, outputs, tuple(self.nodes), self.constants)
        try:
            to_step(graph)
        except StreamError:
            return False
        return True

    def finish(self):
        """A case of one to four outputs, each of which a stream gives."""
        self.states.clear()
        used = {name for node in self.nodes for name in node.inputs}
        names = [v.name for v in self.values if v.name not in self.inputs]
        names.sort(key=lambda name: name in used)
        shown = [name for name in names if self.takes({"y": name})][:4]
        if not shown:
            raise RejectError
        outputs = {f"o{k}": name for k, name in enumerate(shown)}
        graph = Graph(self.inputs, outputs, tuple(self.nodes), self.constants)
        return Case(graph, dict(self.ranges), self.seed)


def stream_case(seed):
    """The graph of a seed, or None where nothing grew that streams."""
    builder = Streams(seed, False, tuple(op for op in MAKERS if op not in ("reverse_sequence", "put")))
    builder.start()
    builder.grow(builder.integer(2, 10))
    try:
        return builder.finish()
    except RejectError:
        return None


def reading(kind, array, t):
    """What a stream is given at step t of a whole input with one row."""
    axes = [axis for axis, dim in enumerate(kind.shape) if dim == symbol(TIME)]
    drop = {axis for axis, dim in enumerate(kind.shape) if dim == symbol(BATCH)} | set(axes)
    picked = array.take([t], axes[0]) if axes else array
    return picked.reshape([size for axis, size in enumerate(picked.shape) if axis not in drop])


def close(found, expected, where):
    assert found.shape == expected.shape, where
    if found.dtype != np.float32:
        np.testing.assert_array_equal(found, expected, where)
        return
    error = np.abs(found.astype(np.float64) - expected) / np.maximum(1, np.abs(expected))
    assert error.max(initial=0) <= TOLERANCE, f"{where}: {error.max() / TOLERANCE:.2f} tolerances"


def whole(model, feeds, length):
    """What the model gives for the first `length` readings; None where it does not fit so few."""
    cut = {}
    for name, kind in model.inputs.items():
        axes = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
        cut[name] = feeds[name].take(range(length), axes[0]) if axes else feeds[name]
    try:
        return model.run(cut)
    except InputError:
        return None


def check(seed):
    """Compare one model; the kinds of outputs that were compared."""
    case = stream_case(seed)
    if case is None:
        return set()
    rng = np.random.default_rng([seed, 5])
    model, length = Model(case.graph), int(rng.integers(1, 12))
    feeds = case.feeds(rng, {TIME: length, BATCH: 1})
    stream = model.stream()
    starts = {name: feeds[name] for name in feeds if name in stream.state}
    stream.state = starts
    inputs = {name: kind for name, kind in model.inputs.items() if name not in starts}
    if not inputs:
        return set()
    rows = []
    for t in range(length):
        given = stream.step({name: reading(kind, feeds[name], t) for name, kind in inputs.items()})
        single = given is not None and not isinstance(given, dict)
        rows.append({next(iter(stream.outputs)): given} if single else given)
    firings = to_step(model.graph).firings
    kinds = set()
    at_end = {t: whole(model, feeds, t + 1) for t in range(length)}
    for name in stream.outputs:  # paired states are none of them
        kind = model.outputs[name]
        moving = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
        given = [(t, row[name]) for t, row in enumerate(rows) if row is not None and row[name] is not None]
        stride, first = firings[name]
        assert [t for t, _ in given] == list(range(first, length, stride)), f"seed {seed}, {name}: due"
        where = f"seed {seed}, output {name} {kind}, every {stride} from {first}"
        if not moving:
            for t, value in given:
                if at_end[t] is not None:
                    close(value, at_end[t][name].reshape(value.shape), f"{where}, ending at {t}")
                    kinds.add("end")
            continue
        full = at_end[length - 1]
        if full is None:
            assert not given, where
            continue
        parts = np.moveaxis(full[name], moving[0], 0)
        assert len(given) <= len(parts), where
        for (t, value), part in zip(given, parts, strict=False):
            close(value, part.reshape(value.shape), f"{where}, at {t}")
            kinds.add("strided" if stride > 1 else "late" if first else "every step")
    return kinds


@pytest.mark.parametrize("part", range(4))
def test_streams_equal_the_whole(part):
    kinds = [kind for seed in range(part, QUICK, 4) for kind in check(seed)]
    assert {"end", "every step"} <= set(kinds)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(30))
def test_thousands_of_streams_equal_the_whole(part):
    kinds = {kind for seed in range(QUICK + part, QUICK + SOAK, 30) for kind in check(seed)}
    assert kinds == {"end", "every step", "late", "strided"}
