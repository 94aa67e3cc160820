"""Runs a random cell of `tests.cells` as a one-node program on its kernel, in the harness."""

from dataclasses import replace

import numpy as np

from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.program.lowering import lower
from edgelstm.reference import evaluate
from tests.cells import OUTPUTS
from tests.machine.kernels.harness import Machine

WEIGHTS = ("w", "r", "b", "p", "proj")


def cell_graph(cell, wanted=None, states=()):
    """A graph of the one node; x, lengths and the start states are inputs."""
    named = {name: array for name, array in zip(cell.node.inputs, cell.arrays, strict=True) if name}
    inputs = {name: TensorType(a.dtype.name, a.shape) for name, a in named.items() if name not in WEIGHTS}
    outputs = [name for name in OUTPUTS[cell.node.op] if wanted is None or name in wanted]
    node = replace(cell.node, outputs=tuple(name if name in outputs else "" for name in OUTPUTS[cell.node.op]))
    constants = {name: named[name] for name in WEIGHTS if name in named}
    return Graph(inputs, {name: name for name in outputs}, (node,), constants, tuple(State(a, b) for a, b in states))


def run_cell(cell, wanted=None):
    """The outputs of the kernel by name."""
    graph = cell_graph(cell, wanted)
    named = {name: array for name, array in zip(cell.node.inputs, cell.arrays, strict=True) if name in graph.inputs}
    return Machine(lower(graph)).run(named)


def expected(cell):
    """The outputs of the definition in float64 by name."""
    return dict(zip(OUTPUTS[cell.node.op], evaluate(cell.node, cell.cast(np.float64)), strict=True))


def assert_close(got, want):
    """Within 2e-6 * max(1, |y|)."""
    for name, value in got.items():
        assert value.dtype == np.float32
        assert want[name].shape == value.shape
        error = np.abs(value - want[name]) / np.maximum(1, np.abs(want[name]))
        assert error.max(initial=0) <= 2e-6, (name, error.max())
