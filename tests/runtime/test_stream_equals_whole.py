"""What streams gives what the whole sequence gives, bit for bit in float32, however it is cut into pieces."""

import numpy as np
import pytest

from edgelstm.errors import StreamError
from edgelstm.graph.dims import BATCH, TIME, substitute, symbol, symbols
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.runtime import executors
from edgelstm.runtime.model import Model
from tests.strategies import moves_in_time, random_case

pytest.importorskip("numba")

B = symbol(BATCH)
QUICK = 240
SOAK = 2000
BATCHES = 4


def time_axis(kind):
    axes = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
    return axes[0] if axes else None


def batch_axes(kind):
    """The axes that batch alone makes, of one row in a stream."""
    return tuple(k for k, dim in enumerate(kind.shape) if BATCH in symbols(dim) and substitute(dim, {BATCH: 1}) == 1)


def reading(kind, array, t):
    """What a stream is given at step t of a whole input with one row."""
    axis = time_axis(kind)
    rows = batch_axes(kind)
    drop = tuple(rows) if axis is None else (*rows, axis)
    picked = array if axis is None else array.take([t], axis)
    return picked.reshape([size for k, size in enumerate(picked.shape) if k not in drop])


class Sequence:
    """A model, a sequence of readings for it, and what `run` gives for the whole of it."""

    def __init__(self, seed, length):
        self.case = random_case(seed, streamable=True)
        self.model = Model(self.case.graph)
        rng = np.random.default_rng([seed, 2])
        self.length = length
        feeds = self.case.feeds(rng, {TIME: length, BATCH: 1})
        self.carried = {state.name for state in self.model.states}
        self.claimed = any(state.how == "caller" for state in self.model.graph.states)  # the caller's word for it
        kept = {state.input for state in self.model.graph.states if state.how == "caller"}
        self.starts = {name: feeds[name] for name in feeds if name in self.carried - kept}
        self.feeds = feeds
        self.whole = {} if self.claimed else self.model.run(feeds)
        self.inputs = {name: kind for name, kind in self.model.inputs.items() if name not in self.carried}

    def stream(self):
        return self.model.stream(state=self.starts)

    def readings(self, start, stop):
        """Readings start to stop, stacked by name."""
        return {
            name: np.stack([reading(kind, self.feeds[name], t) for t in range(start, stop)])
            for name, kind in self.inputs.items()
        }

    def expected(self):
        """Output name → one array a step, of those outputs that run over time."""
        found = {}
        for name, kind in self.model.outputs.items():
            if time_axis(kind) is not None and name in self.whole:
                found[name] = np.stack([reading(kind, self.whole[name], t) for t in range(self.length)])
        return found


def as_dict(result, stream):
    return result if isinstance(result, dict) else {next(iter(stream._outputs)): result}


def one_by_one(sequence, stream, start=0, stop=None):
    rows = []
    for t in range(start, sequence.length if stop is None else stop):
        now = {name: array[0] for name, array in sequence.readings(t, t + 1).items()}
        rows.append(as_dict(stream.step(now), stream))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def in_pieces(sequence, stream, rng):
    """By runs and steps of random lengths; the readings stand in larger buffers whose tail is NaN."""
    parts, t = [], 0
    while t < sequence.length:
        count = int(rng.integers(0, sequence.length - t + 1))
        if count == 0:
            if rng.random() < 0.5:
                parts.append(as_dict(stream.run(sequence.readings(t, t + 1)), stream))
                t += 1
            else:
                parts.append({k: v[None] for k, v in step_from_buffer(sequence, stream, t).items()})
                t += 1
            continue
        given = {name: padded(array)[:count] for name, array in sequence.readings(t, t + count).items()}
        parts.append(as_dict(stream.run(given), stream))
        t += count
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def step_from_buffer(sequence, stream, t):
    given = {name: padded(array)[0] for name, array in sequence.readings(t, t + 1).items()}
    return as_dict(stream.step(given), stream)


def padded(array):
    """The same rows at the start of a buffer whose other rows are NaN (or absurd)."""
    tail = np.full((3, *array.shape[1:]), np.nan if array.dtype == np.float32 else 0, array.dtype)
    if array.dtype.kind in "iu":
        tail[:] = 99
    return np.concatenate([array, tail])


def assert_bits(expected, found, where):
    assert set(expected) <= set(found), where
    for name, array in expected.items():
        assert array.dtype == found[name].dtype
        assert array.shape == found[name].shape, (where, name)
        assert array.tobytes() == found[name].tobytes(), f"{where}, output {name}"


def is_refused(sequence):
    """Whether a start state may go on as one output or another, which only the user can tell."""
    try:
        sequence.stream()
    except StreamError as error:
        if "might go on as the output" not in str(error):
            raise
        return True
    return False


def check(seed):
    rng = np.random.default_rng([seed, 3])
    sequence = Sequence(seed, int(rng.integers(1, 10)))
    if not sequence.inputs or is_refused(sequence):
        return 0
    steps = one_by_one(sequence, sequence.stream())
    assert_bits(sequence.expected(), steps, f"seed {seed}: steps against run")
    assert_bits(steps, in_pieces(sequence, sequence.stream(), rng), f"seed {seed}: pieces against steps")
    check_end(seed, sequence, steps)
    check_snapshot(seed, sequence, steps, int(rng.integers(0, sequence.length + 1)))
    check_reset_and_neighbours(seed, sequence, steps)
    check_predict(seed, sequence)
    return len(sequence.expected())


def check_end(seed, sequence, steps):
    """An output without a time axis is on each step what a sequence that ends there gives."""
    ends = [name for name, kind in sequence.model.outputs.items() if time_axis(kind) is None and name in steps]
    if sequence.claimed or not ends:
        return
    for length in {1, sequence.length}:
        cut = {
            name: array if time_axis(kind) is None else array.take(range(length), time_axis(kind))
            for (name, kind), array in ((pair, sequence.feeds[pair[0]]) for pair in sequence.model.inputs.items())
        }
        whole = sequence.model.run(cut)
        for name in ends:
            kind = sequence.model.outputs[name]
            expected = reading(kind, whole[name], 0)
            assert expected.tobytes() == steps[name][length - 1].tobytes(), f"seed {seed}: {name} ending at {length}"


def check_snapshot(seed, sequence, steps, middle):
    """Snapshot and restore in the middle change no bit, in the same stream or another."""
    stream, other = sequence.stream(), sequence.stream()
    if middle:
        one_by_one(sequence, stream, 0, middle)
    blob = stream.snapshot()
    other.restore(blob)
    assert other.snapshot() == blob
    if middle < sequence.length:
        rest = {name: array[middle:] for name, array in steps.items()}
        assert_bits(rest, one_by_one(sequence, other, middle), f"seed {seed}: restored at {middle}")
        assert_bits(rest, one_by_one(sequence, stream, middle), f"seed {seed}: after a snapshot at {middle}")
        stream.restore(blob)
        assert_bits(rest, one_by_one(sequence, stream, middle), f"seed {seed}: rewound to {middle}")


def check_reset_and_neighbours(seed, sequence, steps):
    """Two streams in turns do not disturb each other; a reset one starts again."""
    first, second = sequence.stream(), sequence.stream()
    rows = []
    for t in range(sequence.length):
        now = {name: array[0] for name, array in sequence.readings(t, t + 1).items()}
        rows.append(as_dict(first.step(now), first))
        if t:
            before = {name: array[0] for name, array in sequence.readings(t - 1, t).items()}
            second.step(before)
    assert_bits(steps, {k: np.stack([row[k] for row in rows]) for k in rows[0]}, f"seed {seed}: two streams")
    second.reset()
    if sequence.starts:
        second.state = sequence.starts
    assert_bits(steps, one_by_one(sequence, second), f"seed {seed}: after a reset")


def check_predict(seed, sequence):
    """Where the model has one input and one output, predict gives the same bits, at any batch size."""
    model = sequence.model
    paired = {state.input for state in model.graph.states}
    carried = {state.output for state in model.graph.states}
    inputs = [name for name in model.inputs if name not in paired]
    outputs = [name for name, value in model.graph.outputs.items() if value not in carried]
    if sequence.claimed or len(inputs) != 1 or len(outputs) != 1 or time_axis(model.outputs[outputs[0]]) is None:
        return
    (name,), (output,) = inputs, outputs
    kind, shown = model.inputs[name], model.outputs[output]
    array = sequence.feeds[name]
    single = model.predict(array)
    expected = np.stack([reading(shown, single, t) for t in range(sequence.length)])
    assert_bits({output: expected}, one_by_one(sequence, model.stream()), f"seed {seed}: predict")
    rows = batch_axes(kind)
    if [shape[k] for shape, axes in ((kind.shape, rows), (shown.shape, batch_axes(shown))) for k in axes] == [B, B]:
        double = model.predict(np.concatenate([array * 0, array], rows[0]))
        second = double.take([1], batch_axes(shown)[0])
        assert single.tobytes() == second.tobytes(), f"seed {seed}: predict of two rows"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_stream_equals_whole(batch):
    compared = sum(check(seed) for seed in range(batch, QUICK, BATCHES))
    assert compared > QUICK // BATCHES // 4  # outputs over time were compared, not only ends


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
def test_stream_equals_whole_on_thousands(batch):
    assert sum(check(seed) for seed in range(QUICK + batch, QUICK + SOAK, 20))


def test_stream_equals_whole_on_the_reference(monkeypatch):
    """Where there is no numba, NumPy sums in another order for other shapes: close, and exact from piece to piece."""
    monkeypatch.setattr(executors, "make_executor", ReferenceExecutor)
    for seed in range(20):
        sequence = Sequence(seed, 5)
        steps = one_by_one(sequence, sequence.stream())
        pieces = in_pieces(sequence, sequence.stream(), np.random.default_rng(seed))
        assert_bits(steps, pieces, f"seed {seed}")
        for name, array in sequence.expected().items():
            error = np.abs(array.astype(float) - steps[name].astype(float)) / np.maximum(1, np.abs(array))
            assert error.max(initial=0) <= 2e-6, f"seed {seed}, output {name}"


def test_the_random_models_move_in_time():
    cases = [random_case(seed, streamable=True) for seed in range(QUICK)]
    assert sum(map(moves_in_time, cases)) > QUICK * 0.9
    assert sum(bool(case.graph.states) for case in cases) > QUICK * 0.1
