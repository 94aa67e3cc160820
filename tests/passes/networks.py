"""Random networks as people build them, for streams: convolutions, pooling, norms, cells, attention, ends.

Every layer takes and gives (B, steps, features). What a stream refuses is left out again by who grows them.
"""

from __future__ import annotations

import numpy as np

from edgelstm.graph.dims import BATCH, TIME, symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import infer, make_node
from tests.cells import GATES

T, B = symbol(TIME), symbol(BATCH)
LONGEST = 64  # positions


class Network:
    """A graph that grows a layer at a time from x (B, T, features).

    Attributes:
        value: the last layer's output.
        rounds: whether something sums time and features together, which a stream does in another order.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 77])
        self.nodes, self.constants, self.ends = [], {}, []
        self.types = {"x": TensorType("float32", (B, T, self.integer(1, 6)))}
        self.inputs = {"x": self.types["x"]}
        self.value, self.rounds = "x", False

    def integer(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def chance(self, p):
        return self.rng.random() < p

    @property
    def steps(self):
        return self.types[self.value].shape[1]

    @property
    def width(self):
        return int(self.types[self.value].shape[2])

    # Building blocks.

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        self.types[name] = TensorType(self.constants[name].dtype.name, self.constants[name].shape)
        return name

    def weights(self, *shape):
        size = max(1, int(np.prod(shape[1:])))
        return self.constant((self.rng.normal(size=shape) / np.sqrt(size)).astype(np.float32))

    def node(self, op, inputs, outputs=1, **attrs):
        names = [f"v{len(self.nodes)}.{k}" for k in range(outputs)]
        made = make_node(op, inputs, names, f"{op}{len(self.nodes)}", **attrs)
        kinds = infer(made, [self.types[name] if name else None for name in made.inputs])
        self.types |= {name: kind for name, kind in zip(names, kinds, strict=True) if kind is not None}
        self.nodes.append(made)
        return names[0] if outputs == 1 else names

    def turned(self, name, *perm):
        return self.node("transpose", [name], perm=perm)

    def linear(self, name, width):
        return self.node("linear", [name, self.weights(width, int(self.types[name].shape[-1])), self.weights(width)])

    def cut(self, name, axis, start, stop, step=1):
        return self.node("slice", [name], axes=(axis,), starts=(start,), stops=(stop,), steps=(step,))

    # Layers.

    def pointwise(self):
        op = str(self.rng.choice(["tanh", "relu", "sigmoid", "softsign", "abs", "erf", "identity", "exp"]))
        x = self.node("tanh", [self.value]) if op == "exp" else self.value
        self.value = self.node(op, [x])

    def dense(self):
        self.value = self.linear(self.value, self.integer(1, 7))

    def cell(self):
        op, hidden = str(self.rng.choice(list(GATES))), self.integer(1, 6)
        gates, count = GATES[op] * hidden, {"rnn": 1, "gru": 2, "lstm": 3}[op]
        attrs = {"hidden_size": hidden, "activations": (*("sigmoid",) * (count > 1), *("tanh",) * max(1, count - 1))}
        attrs |= {"activation_alpha": (0.0,) * count, "activation_beta": (0.0,) * count}
        weights = [self.weights(1, gates, self.width), self.weights(1, gates, hidden), self.weights(1, 2 * gates)]
        y, h, *_ = self.node(op, [self.turned(self.value, 1, 0, 2), *weights], 3 if op == "lstm" else 2, **attrs)
        self.ends.append(h)
        self.value = self.turned(self.node("reshape", [y], shape=(self.steps, B, hidden)), 1, 0, 2)

    def window(self, kernel):
        """Attributes of a causal window, sometimes strided, dilated or without padding."""
        dilation = self.integer(1, 3) if kernel > 1 else 1
        front = (kernel - 1) * dilation if self.chance(0.6) else self.integer(0, (kernel - 1) * dilation)
        return {
            "strides": (self.integer(1, 3) if self.chance(0.25) else 1,),
            "pads": (front, 0),
            "dilations": (dilation,),
        }

    def conv(self):
        kernel, width = self.integer(1, 4), self.integer(1, 6)
        weights = [self.weights(width, self.width, kernel), *([self.weights(width)] if self.chance(0.5) else [])]
        y = self.node("conv", [self.turned(self.value, 0, 2, 1), *weights], group=1, **self.window(kernel))
        self.value = self.turned(y, 0, 2, 1)

    def chomped(self):
        """Padded on both sides, the end cut off, as TCNs are often written."""
        kernel, dilation = self.integer(2, 3), self.integer(1, 2)
        pad = (kernel - 1) * dilation
        weights = self.weights(self.integer(1, 6), self.width, kernel)
        attrs = {"strides": (1,), "pads": (pad, pad), "dilations": (dilation,), "group": 1}
        y = self.node("conv", [self.turned(self.value, 0, 2, 1), weights], **attrs)
        self.value = self.turned(self.cut(y, 2, 0, self.steps), 0, 2, 1)

    def image(self):
        """A convolution over time and features."""
        channels, kernel, across = self.integer(1, 3), self.integer(1, 3), self.integer(1, min(3, self.width))
        x = self.node("reshape", [self.value], shape=(B, 1, self.steps, self.width))
        attrs = {"strides": (1, 1), "pads": (kernel - 1, 0, 0, 0), "dilations": (1, 1), "group": 1}
        y = self.turned(self.node("conv", [x, self.weights(channels, 1, kernel, across)], **attrs), 0, 2, 1, 3)
        _, steps, _, rest = self.types[y].shape
        self.value = self.node("reshape", [y], shape=(B, steps, channels * int(rest)))

    def pool(self):
        op, kernel = str(self.rng.choice(["max_pool", "avg_pool"])), self.integer(1, 3)
        attrs = self.window(kernel) | {"kernel": (kernel,)} | ({"count_include_pad": 1} if op == "avg_pool" else {})
        self.value = self.turned(self.node(op, [self.turned(self.value, 0, 2, 1)], **attrs), 0, 2, 1)

    def norm(self):
        scale, bias = self.weights(self.width), self.weights(self.width)
        self.value = self.node("layer_norm", [self.value, scale, bias], axis=-1)

    def normed(self):
        op = str(self.rng.choice(["softmax", "log_softmax"]))
        self.value = self.node(op, [self.value], axis=-1)

    def residual(self):
        """A convolution without padding beside the steps that it has."""
        kernel = self.integer(2, 3)
        attrs = {"strides": (1,), "pads": (0, 0), "dilations": (1,), "group": 1}
        y = self.node("conv", [self.turned(self.value, 0, 2, 1), self.weights(self.width, self.width, kernel)], **attrs)
        x = self.cut(self.value, 1, kernel - 1, self.steps)
        self.value = self.node("add", [self.turned(y, 0, 2, 1), x])

    def differences(self):
        later, before = self.cut(self.value, 1, 1, self.steps), self.cut(self.value, 1, 0, self.steps - 1)
        self.value = self.node("sub" if self.chance(0.5) else "maximum", [later, before])

    def every_other(self):
        self.value = self.cut(self.value, 1, 0, self.steps, 2)

    def beside(self):
        """Two views of the same steps, joined."""
        self.value = self.node("concat", [self.node("tanh", [self.value]), self.linear(self.value, 2)], axis=-1)

    def chosen(self):
        level = self.constant(np.float32(self.rng.normal()))
        which = self.node(str(self.rng.choice(["greater", "less"])), [self.value, level])
        self.value = self.node("where", [which, self.value, self.node("neg", [self.value])])

    def embedded(self):
        """The largest feature's number, embedded."""
        index = self.node("argmax", [self.value], axis=-1, keepdims=0)
        self.value = self.node("gather", [self.weights(self.width, self.integer(1, 5)), index], axis=0)

    def positions(self):
        if self.steps == T:
            where = self.node(
                "gather", [self.weights(LONGEST, self.width), self.node("arange", [], shape=(T,))], axis=0
            )
            self.value = self.node("add", [self.value, where])

    def reduced(self):
        """Over features, repeated to their number again."""
        op = str(self.rng.choice(["reduce_mean", "reduce_max", "reduce_sum", "reduce_min", "reduce_prod"]))
        y = self.node(op, [self.node("tanh", [self.value])], axes=(2,), keepdims=1)
        self.value = self.node("broadcast", [y], shape=(B, self.steps, self.integer(1, 4)))

    def padded(self):
        self.value = self.node("pad", [self.value], pads=(0, 0, 1, 0, 0, 2), mode="constant", value=0.5)

    def expected(self):
        self.value = self.node("expect", [self.value], given=(self.width,), wanted=(self.width,))

    def attention(self):
        """Causal, in heads; scores of later steps hidden by a mask of positions."""
        heads, size, steps = self.integer(1, 2), self.integer(1, 3), self.steps

        def split(*perm):
            y = self.node("reshape", [self.linear(self.value, heads * size)], shape=(B, steps, heads, size))
            return self.turned(y, *perm)

        q, k, v = split(0, 2, 1, 3), split(0, 2, 3, 1), split(0, 2, 1, 3)
        places = self.node("arange", [], shape=(steps,))
        column = self.node("reshape", [places], shape=(steps, 1))
        scores, low = self.node("matmul", [q, k]), self.constant(np.float32(-1e9))
        if self.chance(0.5):
            later = self.node("less", [column, places])
            scores = self.node("where", [later, low, scores])
        else:
            mask = self.node("where", [self.node("less", [column, places]), low, self.constant(np.float32(0))])
            scores = self.node("add", [scores, mask])
        y = self.turned(self.node("matmul", [self.node("softmax", [scores], axis=-1), v]), 0, 2, 1, 3)
        self.value = self.linear(self.node("reshape", [y], shape=(B, steps, heads * size)), self.integer(1, 5))

    # Ends: one value for the whole sequence.

    def last(self):
        y = self.cut(self.value, 1, self.steps - 1, self.steps)
        return self.node("reshape", [y], shape=(B, self.width))

    def over_time(self):
        op = str(self.rng.choice(["reduce_mean", "reduce_max", "reduce_sum", "reduce_min", "reduce_prod"]))
        axes = (1, 2) if self.chance(0.2) else (1,)
        self.rounds |= len(axes) > 1 and self.width > 1
        return self.node(op, [self.node("tanh", [self.value])], axes=axes, keepdims=self.integer(0, 1))

    def pooled(self):
        """Attention pooling: by a weighted sum or by a product."""
        weights = self.node("softmax", [self.linear(self.value, 1)], axis=1)
        if self.chance(0.5):
            return self.node("reduce_sum", [self.node("mul", [weights, self.value])], axes=(1,), keepdims=0)
        return self.node("matmul", [self.turned(weights, 0, 2, 1), self.value])

    def spread(self):
        mean = self.node("reduce_mean", [self.value], axes=(1,), keepdims=1)
        centred = self.node("sub", [self.value, mean])
        return self.node("reduce_mean", [self.node("mul", [centred, centred])], axes=(1,), keepdims=0)

    def last_asks(self):
        """The last step against all."""
        steps, width = self.steps, self.width
        asks = self.node("reshape", [self.last()], shape=(B, width, 1))
        scores = self.node("reshape", [self.node("matmul", [self.value, asks])], shape=(B, 1, steps))
        return self.node("matmul", [self.node("softmax", [scores], axis=-1), self.value])

    def joined(self):
        """The largest over time of convolutions of several sizes, joined."""
        found = []
        for kernel in (1, 2, 3):
            attrs = {"strides": (1,), "pads": (0, 0), "dilations": (1,), "group": 1}
            y = self.node("conv", [self.turned(self.value, 0, 2, 1), self.weights(2, self.width, kernel)], **attrs)
            found.append(self.node("reduce_max", [y], axes=(2,), keepdims=0))
        return self.node("concat", found, axis=1)

    def graph(self, outputs):
        used = {name for node in self.nodes for name in node.inputs}
        constants = {name: array for name, array in self.constants.items() if name in used}
        return Graph(self.inputs, {f"o{k}": name for k, name in enumerate(outputs)}, tuple(self.nodes), constants)


LAYERS = (
    *("pointwise", "dense", "cell", "conv", "conv", "chomped", "image", "pool", "norm", "normed", "residual"),
    *("differences", "every_other", "beside", "chosen", "embedded", "positions", "reduced", "padded", "expected"),
    *("attention", "attention"),
)
ENDS = ("last", "over_time", "pooled", "spread", "last_asks", "joined")
