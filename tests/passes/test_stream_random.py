"""Random models that stream, with windows, running reductions, histories and strides, against the whole sequence."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.dims import BATCH, TIME, symbol, symbols
from edgelstm.graph.ir import Graph
from edgelstm.passes.states import pair_states
from edgelstm.passes.stream import RULES, to_step
from edgelstm.runtime.model import Model
from tests.passes.networks import ENDS, LAYERS, Network
from tests.strategies import MAKERS, Builder, Case, RejectError

pytest.importorskip("numba")

QUICK = 100
NETWORKS = 60
SOAK = 1000
TOLERANCE = 2e-6
NEVER = {"reverse_sequence"}  # operators that no stream takes


def takes(graph):
    try:
        to_step(graph)
    except StreamError:
        return False
    return True


class Streams(Builder):
    """Grows whatever graph the stream pass takes, of any operators."""

    def attempt(self, op):
        kept = len(self.nodes), len(self.values), len(self.states), set(self.constants), set(self.inputs)
        if not super().attempt(op):
            return False
        if takes(Graph(self.inputs, {}, tuple(self.nodes), self.constants)):
            return True
        self.undo(*kept)
        return False

    def finish(self):
        """A case of one to four outputs, each of which a stream gives."""
        self.states.clear()
        used = {name for node in self.nodes for name in node.inputs}
        names = [v.name for v in self.values if v.name not in self.inputs]
        names.sort(key=lambda name: name in used)
        shown = [n for n in names if takes(Graph(self.inputs, {"y": n}, tuple(self.nodes), self.constants))][:4]
        if not shown:
            raise RejectError
        outputs = {f"o{k}": name for k, name in enumerate(shown)}
        graph = Graph(self.inputs, outputs, tuple(self.nodes), self.constants)
        return Case(graph, dict(self.ranges), self.seed)


def operators(seed):
    """A graph of any operators, or None where nothing grew that streams; and whether its sums keep their order."""
    builder = Streams(seed, False, {op: make for op, make in MAKERS.items() if op not in ("reverse_sequence", "put")})
    builder.start()
    builder.grow(builder.integer(2, 10))
    try:
        case = builder.finish()
    except RejectError:
        return None, False
    return (case, False) if takes(pair_states(case.graph)) else (None, False)  # an output that may show either state


def network(seed):
    """A graph of layers as people stack them, whose stream gives the bits of the whole."""
    net = Network(seed)
    for _ in range(net.integer(1, 6)):
        attempt(net, str(net.rng.choice(LAYERS)))
    outputs = [net.value] if net.nodes else []
    for _ in range(net.integer(0, 2)):
        end = attempt(net, str(net.rng.choice(ENDS)))
        outputs += [end] if end else []
    outputs += [end for end in net.ends if net.chance(0.5) and takes(net.graph([*outputs, end]))][:1]
    graph = net.graph(outputs)
    return (Case(graph, {"x": (-2.0, 2.0)}, seed), not net.rounds) if outputs and takes(graph) else (None, False)


def attempt(net, layer):
    """Add a layer or an end if a stream takes it; gives the end."""
    kept = len(net.nodes), dict(net.constants), net.value, list(net.ends), net.rounds
    try:
        end = getattr(net, layer)()
        if takes(net.graph([end or net.value])):
            return end
    except InputError:
        pass  # too few features or steps for it
    del net.nodes[kept[0] :]
    net.constants, net.value, net.ends, net.rounds = kept[1:]
    return None


def reading(kind, array, t):
    """What a stream is given at step t of a whole input with one row."""
    axes = [axis for axis, dim in enumerate(kind.shape) if dim == symbol(TIME)]
    drop = {axis for axis, dim in enumerate(kind.shape) if dim == symbol(BATCH)} | set(axes)
    picked = array.take([t], axes[0]) if axes else array
    return picked.reshape([size for axis, size in enumerate(picked.shape) if axis not in drop])


def close(found, expected, exact, where):
    assert found.shape == expected.shape, where
    if exact or found.dtype != np.float32:
        assert found.tobytes() == expected.tobytes() or np.array_equal(found, expected, equal_nan=True), where
        return
    error = np.abs(found.astype(np.float64) - expected) / np.maximum(1, np.abs(expected))
    assert error.max(initial=0) <= TOLERANCE, f"{where}: {error.max() / TOLERANCE:.2f} tolerances"


def only(graph, output):
    """The graph of one output alone: others may not fit as few readings."""
    wanted, kept = {graph.outputs[output]}, []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return replace(graph, outputs={output: graph.outputs[output]}, nodes=tuple(reversed(kept)), states=())


class Sequence:
    """One model, one sequence of readings, and what a stream gives for them step by step."""

    def __init__(self, case, rng):
        self.model, self.length = Model(case.graph), int(rng.integers(1, 16))
        self.feeds = case.feeds(rng, {TIME: self.length, BATCH: 1})
        fresh = self.model.stream()
        self.starts = {name: self.feeds[name] for name in self.feeds if name in fresh.state}
        self.inputs = {name: kind for name, kind in self.model.inputs.items() if name not in self.starts}
        self.outputs = list(fresh.outputs)
        self.rows, self.alone = [], {}
        if self.inputs:
            stream = self.stream()
            self.rows = [self.step(stream, t) for t in range(self.length)]

    def stream(self):
        return self.model.stream(state=self.starts)

    def step(self, stream, t):
        """Output name → value, None where it is not due; the reading stands in a buffer whose rest is NaN."""
        return self.named(stream.step({name: array[0] for name, array in self.readings(t, t + 1).items()}))

    def readings(self, start, stop):
        found = {}
        for name, kind in self.inputs.items():
            rows = np.stack([reading(kind, self.feeds[name], t) for t in range(start, stop)])
            rest = np.full_like(rows, np.nan) if rows.dtype == np.float32 else np.full_like(rows, 99)
            found[name] = np.concatenate([rows, rest])[: stop - start]
        return found

    def named(self, given):
        if isinstance(given, dict):
            return given
        return dict.fromkeys(self.outputs, given) if given is None else {self.outputs[0]: given}

    def given(self, name, start=0):
        return [row[name] for row in self.rows[start:] if row[name] is not None]

    def whole(self, name, length):
        """What the model gives as one output for the first readings; None where that does not fit so few."""
        if name not in self.alone:
            self.alone[name] = Model(only(self.model.graph, name))
        cut = {}
        for each, kind in self.model.inputs.items():
            axes = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
            cut[each] = self.feeds[each].take(range(length), axes[0]) if axes else self.feeds[each]
        try:
            return self.alone[name].run(cut)[name]
        except InputError:
            return None


def check(made, seed):
    """Compare one model; the kinds of outputs that were compared, and the operators and memories that took part."""
    case, exact = made(seed)
    if case is None:
        return Counter()
    rng = np.random.default_rng([seed, 5])
    sequence = Sequence(case, rng)
    if not sequence.rows:
        return Counter()
    step = to_step(sequence.model.graph)
    seen = Counter({node.op for node in case.graph.nodes})
    seen.update({state.input.split("#")[0].rsplit(".", 1)[-1] for state in step.graph.states})
    where = f"seed {seed}"
    for name in sequence.outputs:
        seen.update(check_output(sequence, name, step.firings[name], exact, f"{where}, output {name}"))
    check_pieces(sequence, rng, where)
    check_snapshot(sequence, int(rng.integers(0, sequence.length + 1)), where)
    return seen


def check_output(sequence, name, firing, exact, where):
    kind, (stride, first) = sequence.model.outputs[name], firing
    moving = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
    given = [(t, row[name]) for t, row in enumerate(sequence.rows) if row[name] is not None]
    where = f"{where} {kind}, every {stride} from {first}"
    assert [t for t, _ in given] == list(range(first, sequence.length, stride)), f"{where}: due"
    if not moving:
        wholes = [(t, value, sequence.whole(name, t + 1)) for t, value in given]
        for t, value, whole in wholes:
            if whole is not None:
                close(value, whole.reshape(value.shape), exact, f"{where}, ending at {t}")
        return {"end"} if any(whole is not None for _, _, whole in wholes) else set()
    full = sequence.whole(name, sequence.length)
    if full is None:
        assert not given, where
        return set()
    parts = np.moveaxis(full, moving[0], 0)
    assert len(given) <= len(parts), where
    for (t, value), part in zip(given, parts, strict=False):
        close(value, part.reshape(value.shape), exact, f"{where}, at {t}")
    return {"strided" if stride > 1 else "late" if first else "every step"} if given else set()


def check_pieces(sequence, rng, where):
    """Runs and steps of random lengths, some of them 0, give the rows of single steps to the bit."""
    stream, t = sequence.stream(), 0
    found = {name: [] for name in sequence.outputs}
    while t < sequence.length:
        count = int(rng.integers(0, sequence.length - t + 1))
        if count and rng.random() < 0.7:
            part = stream.run(sequence.readings(t, t + count))
            for name, rows in (part if isinstance(part, dict) else {sequence.outputs[0]: part}).items():
                found[name] += list(rows)
            t += count
            continue
        for name, value in sequence.step(stream, t).items():
            found[name] += [] if value is None else [value]
        t += 1
    for name, rows in found.items():
        same(rows, sequence.given(name), f"{where}, {name}: pieces")


def check_snapshot(sequence, middle, where):
    """A snapshot in the middle changes nothing, and goes on in another stream."""
    stream, other = sequence.stream(), sequence.stream()
    for t in range(middle):
        sequence.step(stream, t)
    blob = stream.snapshot()
    other.restore(blob)
    assert other.snapshot() == blob
    copied = sequence.model.stream(state=stream.state)
    for each in (other, stream, copied):
        rows = [sequence.step(each, t) for t in range(middle, sequence.length)]
        for name in sequence.outputs:
            found = [row[name] for row in rows if row[name] is not None]
            same(found, sequence.given(name, middle), f"{where}, {name}: on from a snapshot at {middle}")


def same(found, expected, where):
    assert len(found) == len(expected), where
    for one, other in zip(found, expected, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), where


def of(made, seeds):
    return sum((check(made, seed) for seed in seeds), Counter())


@pytest.mark.parametrize("part", range(4))
def test_streams_of_operators_equal_the_whole(part):
    assert {"end", "every step"} <= set(of(operators, range(part, QUICK, 4)))


@pytest.mark.parametrize("part", range(4))
def test_streams_of_networks_are_the_whole_to_the_bit(part):
    seen = of(network, range(part, NETWORKS, 4))
    assert {"end", "every step", "strided", "window", "count", "history", "conv", "matmul"} <= set(seen)


def test_every_rule_is_drawn():
    """What the rules take is drawn by the tests above, and often by the long ones."""
    seen = Counter()
    for made, count in ((operators, QUICK), (network, NETWORKS)):
        for seed in range(count):
            case, _ = made(seed)
            seen.update({node.op for node in case.graph.nodes} if case else ())
    assert set(RULES) - NEVER <= set(seen), sorted(set(RULES) - NEVER - set(seen))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
@pytest.mark.parametrize("made", [operators, network])
def test_thousands_of_streams_equal_the_whole(made, part):
    seen = set(of(made, range(QUICK + part, QUICK + SOAK, 20)))
    assert {"end", "every step"} | ({"late", "strided"} if made is network else set()) <= seen
