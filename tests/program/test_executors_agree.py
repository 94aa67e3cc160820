"""The reference and the machine run the same random programs and must agree."""

import numpy as np
import pytest

from edgelstm.errors import StreamError
from edgelstm.graph.bind import bind, free_symbols
from edgelstm.passes.stream import to_step
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.program.lowering import lower
from edgelstm.program.reference import Reference
from edgelstm.program.status import OK
from edgelstm.runtime.snapshot import pack
from tests.coverage import missing
from tests.strategies import random_case

executor = pytest.importorskip("edgelstm.machine.executor")

QUICK = 500
SOAK = 6000
TOLERANCE = 2e-6
BATCHES = 6


def worst(expected, found):
    """The largest difference in units of the tolerance; integers and booleans must be equal."""
    assert expected.shape == found.shape
    if found.dtype != np.float32:
        np.testing.assert_array_equal(found, expected)
        return 0.0
    assert np.isfinite(expected).all()
    error = np.abs(expected.astype(np.float64) - found) / np.maximum(1, np.abs(expected))
    return float(error.max(initial=0)) / TOLERANCE


class Runs:
    """One program on the reference in float32, on the reference in float64, and on the machine."""

    def __init__(self, graph):
        program = lower(graph)
        self.graph = graph
        self.machine, self.reference = executor.Machine(program), ReferenceExecutor(program)
        self.double = Reference(graph, "float64")
        self.kinds = {state.input: state.output for state in graph.states}
        self.states = {name: view.copy() for name, view in self.reference.arenas.states.items()}

    def step(self, feeds):
        """One execution each; the differences in units of the tolerance, by name."""
        for one in (self.machine, self.reference):
            for name, value in feeds.items():
                one.arenas.inputs[name][...] = value
            assert one.execute(True) == OK
        kinds = self.graph.inputs
        before = {
            name: value if value.dtype == np.float64 else value.astype(kinds[name].dtype)
            for name, value in self.states.items()
        }
        values = self.double.values({**feeds, **before})
        self.states = {name: values[after] for name, after in self.kinds.items()}
        errors = {}
        for name, value in self.graph.outputs.items():
            found, float32 = self.machine.arenas.outputs[name], self.reference.arenas.outputs[name]
            errors[f"output {name}"] = max(worst(float32, found), worst(values[value], found))
        for name in self.kinds:
            found, float32 = self.machine.arenas.states[name], self.reference.arenas.states[name]
            errors[f"state {name}"] = max(worst(float32, found), worst(self.states[name], found))
        return errors


def compare(seed):
    """Run the program of a seed; its graph."""
    case = random_case(seed, streamable=seed % 3 == 0)
    rng = np.random.default_rng([seed, 1])
    graph, steps = case.graph, 32 if seed % 10 == 0 else int(rng.integers(1, 5))
    if seed % 3 == 0:
        try:
            bound = to_step(graph).graph
        except StreamError as refusal:
            pytest.fail(f"seed {seed}: {refusal}")
    else:
        length = 32 if seed % 20 == 1 else int(rng.integers(1, 7))
        sizes = {"T": length, "B": int(rng.integers(1, 4))}
        bound = bind(graph, {name: sizes[name] for name in free_symbols(graph)})
    carried = {state.input for state in bound.states}
    runs = Runs(bound)
    for step in range(steps):
        feeds = {name: case.draw(rng, name, kind.shape) for name, kind in bound.inputs.items() if name not in carried}
        errors = runs.step(feeds)
        for name, error in errors.items():
            assert error <= 1, f"seed {seed}, step {step}, {name}: {error:.2f} tolerances"
    assert_same_snapshot(runs)
    return graph


def assert_same_snapshot(runs):
    """The machine's state, put into the reference, gives the same bytes."""
    machine, reference = runs.machine.arenas, runs.reference.arenas
    for name, view in machine.states.items():
        reference.states[name][...] = view
    assert pack("model", dict(machine.states)) == pack("model", dict(reference.states))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_executors_agree(batch):
    for seed in range(batch, QUICK, BATCHES):
        compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(60))
def test_executors_agree_on_thousands(batch):
    for seed in range(QUICK + batch, QUICK + SOAK, 60):
        compare(seed)


def test_every_operator_and_attribute_is_exercised():
    """The seeds that the quick test and the soak use; a few hundred suffice."""
    assert missing(random_case(seed, streamable=seed % 3 == 0).graph for seed in range(QUICK)) == set()
