"""Graphs of one node whose weights are int8, and inputs for them: usual ones, and those that go to the edges."""

import numpy as np

from edgelstm.graph.check import check
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.quantization.scheme import quantize_weights

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
USUAL = {"rnn": ("tanh",), "gru": ("sigmoid", "tanh"), "lstm": ("sigmoid", "tanh", "tanh")}
KINDS = ("usual", "saturated", "zero inputs", "zero rows", "one outlier")


def random(rng, *shape, size=0.4):
    return (rng.standard_normal(shape) * size).astype(np.float32)


def cell(
    op, inputs, units, *, moments=1, batch=2, int8=("x", "h"), stored=("w", "r"), proj=0, acts=None, seed=0, **attrs
):
    """One cell whose matrices in `stored` are int8, and its inputs."""
    rng = np.random.default_rng(seed)
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    gates, out = GATES[op] * units, proj or units
    peepholes = attrs.pop("peepholes", False)
    constants = {
        "w": random(rng, directions, gates, inputs),
        "r": random(rng, directions, gates, out),
        "b": random(rng, directions, 2 * gates),
    }
    if peepholes:
        constants["p"] = random(rng, directions, 3 * units)
    if proj:
        constants["proj"] = random(rng, directions, proj, units)
    scales = {}
    for name in stored:
        constants[name], scales[name] = quantize_weights(constants[name], 2)
    kinds = {
        "x": TensorType("float32", (moments, batch, inputs)),
        "h0": TensorType("float32", (directions, batch, out)),
    }
    names, outputs = ["x", "w", "r", "b", "", "h0"], ["y", "h"]
    if op == "lstm":
        kinds["c0"] = TensorType("float32", (directions, batch, units))
        names += ["c0", "p" if peepholes else "", "proj" if proj else ""]
        outputs += ["c"]
    functions = acts or USUAL[op] * directions
    node = make_node(
        op,
        names,
        outputs,
        hidden_size=units,
        activations=functions,
        activation_alpha=(0.5,) * len(functions),
        activation_beta=(0.1,) * len(functions),
        int8=int8,
        **attrs,
    )
    graph = Graph(kinds, {name: name for name in outputs}, (node,), constants, scales=scales)
    check(graph)
    feeds = {name: rng.uniform(-1, 1, [int(d) for d in kind.shape]).astype(np.float32) for name, kind in kinds.items()}
    feeds["x"] *= 3
    return graph, feeds


def linear(inputs, outputs, count, *, int8=("x",), seed=0, **attrs):
    """Rows times a matrix."""
    rng = np.random.default_rng(seed)
    w, scale = quantize_weights(random(rng, outputs, inputs), 1)
    node = make_node("linear", ["x", "w", "b"], ["y"], int8=int8, **attrs)
    kinds = {"x": TensorType("float32", (count, inputs))}
    graph = Graph(kinds, {"y": "y"}, (node,), {"w": w, "b": random(rng, outputs)}, scales={"w": scale})
    check(graph)
    return graph, {"x": random(rng, count, inputs, size=1)}


def conv(channels, outputs, size, kernel, *, int8=("x",), seed=0, **window):
    """A convolution over 1 or 2 axes."""
    rng, rank = np.random.default_rng(seed), len(kernel)
    w, scale = quantize_weights(random(rng, outputs, channels, *kernel), 1)
    attrs = {"strides": (1,) * rank, "pads": (0,) * 2 * rank, "dilations": (1,) * rank, "int8": int8, **window}
    node = make_node("conv", ["x", "w", "b"], ["y"], **attrs)
    kinds = {"x": TensorType("float32", (2, channels, *size))}
    graph = Graph(kinds, {"y": "y"}, (node,), {"w": w, "b": random(rng, outputs)}, scales={"w": scale})
    check(graph)
    return graph, {"x": random(rng, 2, channels, *size, size=1)}


def table(entries, width, indices, seed=0):
    """Looking up in an embedding."""
    stored, scale = quantize_weights(random(np.random.default_rng(seed), entries, width), 1)
    kinds = {"i": TensorType("int64", (len(indices),))}
    graph = Graph(kinds, {"y": "y"}, (make_node("gather", ["t", "i"], ["y"]),), {"t": stored}, scales={"t": scale})
    check(graph)
    return graph, {"i": np.array(indices)}


def every(seed, kind, moments=3):
    """Name → graph and inputs: each cell in its forms, linear, conv and embedding, of sizes that the seed chooses.

    `kind`, one of KINDS: what the weights and inputs are like.
    """
    rng = np.random.default_rng(seed)
    inputs, units, proj = (int(n) for n in rng.integers(1, 70, 3))
    rows = int(rng.integers(1, 10))  # all ways to fill the tiles of rows
    shared = {"moments": moments, "batch": rows, "seed": seed}
    made = {
        "lstm": cell("lstm", inputs, units, **shared),
        "lstm, general": cell("lstm", inputs, units, proj=proj, peepholes=True, clip=0.9, direction="bidirectional",
                              stored=("w", "r", "proj"), int8=("x", "h", "proj"), **shared),
        "gru after": cell("gru", inputs, units, linear_before_reset=1, **shared),
        "gru before": cell("gru", inputs, units, linear_before_reset=0, direction="reverse", **shared),
        "gru after, one matrix": cell("gru", inputs, units, linear_before_reset=1, int8=("h",), **shared),
        "rnn": cell("rnn", inputs, units, **shared),
        "rnn, unbounded": cell("rnn", inputs, units, acts=("relu",), **shared),
        "weights alone": cell("lstm", inputs, units, int8=(), **shared),
        "linear": linear(inputs, units, rows, seed=seed),
        "linear, weights alone": linear(inputs, units, rows, int8=(), seed=seed),
        "linear, fixed": linear(inputs, units, rows, seed=seed, x_scale=0.01, x_zero=-20),
        "conv": conv(inputs, units, (9,), (3,), pads=(2, 1), strides=(2,), seed=seed),
        "table": table(11, units, [0, 10, -1, 3], seed=seed),
    }  # fmt: skip
    return {name: bent(*case, kind, rng) for name, case in made.items()}


def bent(graph, feeds, kind, rng):
    """The graph and its inputs, driven to an edge."""
    for name in graph.scales:
        q = graph.constants[name]
        q.flags.writeable = True
        if kind == "saturated":
            q[...] = rng.choice(np.array([-128, 127], np.int8), q.shape)
        elif kind == "zero rows":
            q[..., ::2, :] = 0
        elif kind == "one outlier":
            q[...] = rng.integers(-1, 2, q.shape)
            q[..., 0, :] = 127
        q.flags.writeable = False
    for name, value in feeds.items():
        if value.dtype != np.float32:
            continue
        if kind == "saturated":
            feeds[name] = (np.sign(value) * (1 if name == "h0" else 100)).astype(np.float32)
        elif kind == "zero inputs":
            feeds[name] = np.zeros_like(value)
    return graph, feeds
