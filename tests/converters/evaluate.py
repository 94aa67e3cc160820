"""Runs a converted graph on the NumPy reference, so that a converter is tested apart from kernels."""

import numpy as np

from edgelstm.graph.bind import bind
from edgelstm.graph.check import check
from edgelstm.program.reference import Reference


def evaluate(graph, x, dtype="float32"):
    """Output y of a graph with the one input x, batch first."""
    check(graph)
    x = np.asarray(x)
    sizes = {"B": x.shape[0], "T": x.shape[1]}
    return Reference(bind(graph, sizes), dtype).call({"x": x})["y"]
