"""Cells taken apart in every way that exporters do it, with everything drawn at random that must not matter."""

import numpy as np

from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node

B = symbol("B")
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


class Apart:
    """A graph under construction.

    Args:
        rng: draws order, bias, splits and forms.
        batch: leading axes of x, h and c at one step.
    """

    def __init__(self, rng, batch=(B,)):
        self.rng, self.batch = rng, tuple(batch)
        self.nodes, self.constants, self.inputs, self.outputs = [], {}, {}, {}

    def chance(self):
        return bool(self.rng.integers(2))

    def input(self, name, *shape):
        self.inputs[name] = TensorType("float32", shape)
        return name

    def constant(self, array):
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(array, np.float32)
        return name

    def op(self, op, *inputs, **attrs):
        name = f"v{len(self.nodes)}"
        self.nodes.append(make_node(op, list(inputs), [name], **attrs))
        return name

    def either(self, op, a, b):
        """A commutative operator, its operands either way round."""
        return self.op(op, *((a, b) if self.chance() else (b, a)))

    def part(self, value, start, stop):
        axis = len(self.batch)
        return self.op("slice", value, axes=(axis,), starts=(start,), stops=(stop,), steps=(1,))

    def graph(self):
        return Graph(self.inputs, self.outputs, tuple(self.nodes), self.constants)


def weights(op, units, width, rng, bias=True):
    """w, r and the two biases in ONNX's gate order."""
    rows = GATES[op] * units
    scale = 0.7
    w, r = (rng.normal(size=(rows, n)).astype(np.float32) * scale for n in (width, units))
    b = rng.normal(size=(2, rows)).astype(np.float32) * (scale if bias else 0)
    return w, r, b


def products(apart, x, h, w, r, b, joined):
    """The sums of a block of gates: one matrix over [x, h], or two, and the biases in one of the ways."""
    if joined:
        first = apart.chance()
        together = apart.op("concat", *((x, h) if first else (h, x)), axis=len(apart.batch))
        matrix = np.concatenate([w, r] if first else [r, w], axis=1)
        return biased(apart, apart.op("linear", together, apart.constant(matrix)), b)
    if apart.chance():  # a bias inside each product
        left = apart.op("linear", x, apart.constant(w), apart.constant(b[0]))
        right = apart.op("linear", h, apart.constant(r), apart.constant(b[1]))
        return apart.either("add", left, right)
    left, right = apart.op("linear", x, apart.constant(w)), apart.op("matmul", h, apart.constant(r.T))
    return biased(apart, apart.either("add", left, right), b)


def biased(apart, value, b):
    for row in b:
        if np.any(row):
            value = apart.either("add", value, apart.constant(row))
    return value


def gates(apart, x, h, w, r, b, units):
    """The sums of all gates: computed together and split, in some order, or one by one."""
    count = len(w) // units
    joined = apart.chance()
    rows = [slice(n * units, (n + 1) * units) for n in range(count)]
    if apart.chance():
        return [products(apart, x, h, w[at], r[at], b[:, at], joined) for at in rows]
    order = apart.rng.permutation(count)
    index = np.concatenate([np.arange(units * n, units * (n + 1)) for n in order])
    whole = products(apart, x, h, w[index], r[index], b[:, index], joined)
    parts = [apart.part(whole, n * units, (n + 1) * units) for n in range(count)]
    return [parts[list(order).index(n)] for n in range(count)]


def lstm(apart, x, h, c, arrays, units, functions=("sigmoid", "tanh", "tanh")):
    """One step; gives h and c."""
    f, g, last = functions
    i, o, forget, candidate = gates(apart, x, h, *arrays, units)
    i, o, forget, candidate = (apart.op(n, v) for n, v in ((f, i), (f, o), (f, forget), (g, candidate)))
    kept = apart.either("mul", forget, c)
    c = apart.either("add", kept, apart.either("mul", i, candidate))
    return apart.either("mul", o, apart.op(last, c)), c


def gru(apart, x, h, arrays, units, after=True, functions=("sigmoid", "tanh")):
    """One step; gives h."""
    (w, r, b), (f, g) = arrays, functions
    two = slice(0, 2 * units)
    z, reset = (apart.op(f, v) for v in gates(apart, x, h, w[two], r[two], b[:, two], units))
    w, r, b = w[2 * units :], r[2 * units :], b[:, 2 * units :]
    first = biased(apart, apart.op("linear", x, apart.constant(w)), b[:1])
    if after:
        inner = biased(apart, apart.op("linear", h, apart.constant(r)), b[1:])
        candidate = apart.either("add", first, apart.either("mul", reset, inner))
    else:
        inner = apart.op("linear", apart.either("mul", reset, h), apart.constant(r))
        candidate = biased(apart, apart.either("add", first, inner), b[1:])
    return mixed(apart, z, apart.op(g, candidate), h)


def mixed(apart, z, n, h):
    """(1 - z) n + z h, in one of the ways to write it."""
    form = apart.rng.integers(4)
    if form == 0:
        rest = apart.op("sub", apart.constant(np.float32(1)), z)
        return apart.either("add", apart.either("mul", rest, n), apart.either("mul", z, h))
    if form == 1:
        return apart.either("add", apart.either("mul", apart.op("sub", h, n), z), n)
    if form == 2:
        return apart.op("sub", n, apart.either("mul", z, apart.op("sub", n, h)))
    rest = apart.either("add", apart.constant(np.float32(1)), apart.op("neg", z))
    return apart.either("add", apart.either("mul", z, h), apart.either("mul", n, rest))


def rnn(apart, x, h, arrays, units, function="tanh"):
    """One step; gives h."""
    (total,) = gates(apart, x, h, *arrays, units)
    return apart.op(function, total)
