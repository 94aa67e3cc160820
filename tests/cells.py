"""Random recurrent cells for property tests: every attribute of the IR, small sizes, float32 inputs."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from edgelstm.graph.ir import Node
from edgelstm.graph.ops import make_node
from edgelstm.reference import trace

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
FUNCTIONS = {"rnn": 1, "gru": 2, "lstm": 3}
PLAIN = {"rnn": ("Tanh",), "gru": ("Sigmoid", "Tanh"), "lstm": ("Sigmoid", "Tanh", "Tanh")}
OUTPUTS = {"rnn": ("y", "h"), "gru": ("y", "h"), "lstm": ("y", "h", "c")}
ALPHA_BETA = {  # activation → may take alpha, may take beta
    "Affine": (True, True),
    "Elu": (True, False),
    "HardSigmoid": (True, True),
    "LeakyRelu": (True, False),
    "Relu": (False, False),
    "ScaledTanh": (True, True),
    "Sigmoid": (False, False),
    "Softplus": (False, False),
    "Softsign": (False, False),
    "Tanh": (False, False),
    "ThresholdedRelu": (True, False),
}


@dataclass(frozen=True)
class Cell:
    """One recurrent node and an array for every input that it has."""

    node: Node
    arrays: tuple[np.ndarray | None, ...]

    def cast(self, dtype):
        """The arrays with every float in another dtype."""
        return tuple(
            array.astype(dtype) if array is not None and array.dtype.kind == "f" else array for array in self.arrays
        )

    def _repr_pretty_(self, printer, cycle):  # Hypothesis would print every number
        printer.text(repr(self))

    def __repr__(self):
        shapes = {name: array.shape for name, array in zip(self.node.inputs, self.arrays, strict=True) if name}
        lengths = self.arrays[4] if len(self.arrays) > 4 else None
        return f"Cell({self.node.op}, {dict(self.node.attrs)}, {shapes}, lengths={lengths})"


def make_cell(
    op,
    *,
    inputs=3,
    hidden=5,
    moments=4,
    batch=2,
    direction="forward",
    bias=True,
    lengths=None,
    keep=None,
    initial=True,
    peepholes=False,
    projection=0,
    activations=None,
    alpha=None,
    beta=None,
    seed=0,
    scale=1.5,
    **attrs,
):
    """A cell with random arrays. `activations` names those of one direction or of all."""
    rng = np.random.default_rng(seed)
    count = 2 if direction == "bidirectional" else 1
    names = tuple(activations or PLAIN[op])
    names = names if len(names) == count * FUNCTIONS[op] else names * count
    out = projection or hidden

    def weight(*shape):
        # scaled so that sums neither saturate every gate nor stay near zero
        return rng.normal(0, scale / np.sqrt(max(shape[-1], 1)), shape).astype(np.float32)

    arrays = {
        "x": rng.normal(0, 1, (moments, batch, inputs)).astype(np.float32),
        "w": weight(count, GATES[op] * hidden, inputs),
        "r": weight(count, GATES[op] * hidden, out),
        "b": rng.normal(0, 0.5, (count, 2 * GATES[op] * hidden)).astype(np.float32) if bias else None,
        "lengths": None if lengths is None else np.asarray(lengths, np.int32),
        "h0": rng.uniform(-1, 1, (count, batch, out)).astype(np.float32) if initial else None,
    }
    if op == "lstm":
        arrays["c0"] = rng.normal(0, 1, (count, batch, hidden)).astype(np.float32) if initial else None
        arrays["p"] = rng.normal(0, 0.5, (count, 3 * hidden)).astype(np.float32) if peepholes else None
        arrays["proj"] = weight(count, projection, hidden) if projection else None
    arrays["keep"] = None if keep is None else np.asarray(keep, bool)
    node = make_node(
        op,
        [name if array is not None else "" for name, array in arrays.items()],
        OUTPUTS[op],
        hidden_size=hidden,
        direction=direction,
        activations=names,
        activation_alpha=tuple(alpha or (0.0,) * len(names)),
        activation_beta=tuple(beta or (0.0,) * len(names)),
        **attrs,
    )
    return Cell(node, tuple(arrays.values()))


def calm(cell, bound=8.0):
    """Whether rounding is not blown up, judged in float64.

    No gate or state leaves [-bound, bound], and inputs and weights that are one float32 rounding away change the
    result by less than a quarter of what float32 is allowed.
    """
    exact = cell.cast(np.float64)
    outputs, seen = trace(cell.node, exact)
    if any(np.abs(value).max(initial=0) > bound for value in seen.values()):
        return False
    rng = np.random.default_rng(0)
    for _ in range(2):
        rounded = [
            value
            if value is None or value.dtype != np.float64
            else value * (1 + rng.choice([-1, 1], value.shape) * 2.0**-24)
            for value in exact
        ]
        for value, moved in zip(outputs, trace(cell.node, rounded)[0], strict=True):
            if (np.abs(moved - value) > 5e-7 * np.maximum(1, np.abs(value))).any():
                return False
    return True


@st.composite
def cells(draw, ops=("rnn", "gru", "lstm"), plain=False, projections=True, max_hidden=20, shortest=0, onnx=False):
    """Any cell; `plain` draws the default activations and no clip, `onnx` only what that standard knows."""
    op = draw(st.sampled_from(ops))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    moments, batch = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    more = {"scale": 0.8}  # trained layers have about this; more makes plain cells chaotic and rounding grow
    if not plain:
        more["scale"] = 0.6  # gates without bounds soon grow without bounds
        count = FUNCTIONS[op] * (2 if direction == "bidirectional" else 1)
        names = draw(st.lists(st.sampled_from(sorted(ALPHA_BETA)), min_size=count, max_size=count))
        small = st.floats(0.0625, 1.5, width=32)
        more["activations"] = names
        more["alpha"] = [draw(small) if ALPHA_BETA[name][0] else 0.0 for name in names]
        more["beta"] = [draw(small) if ALPHA_BETA[name][1] else 0.0 for name in names]
        more["clip"] = draw(st.one_of(st.just(0.0), st.floats(0.25, 4.0, width=32)))
    if op == "gru":
        more["linear_before_reset"] = draw(st.integers(0, 1))
    hidden = draw(st.integers(1, max_hidden))
    if op == "lstm":
        more["input_forget"] = draw(st.integers(0, 1))
        more["peepholes"] = draw(st.booleans())
        if projections and draw(st.booleans()):
            more["projection"] = draw(st.integers(1, max_hidden))
    lengths = st.lists(st.integers(shortest, moments), min_size=batch, max_size=batch)
    row = st.lists(st.booleans(), min_size=batch, max_size=batch)
    return make_cell(
        op,
        inputs=draw(st.integers(1, max_hidden)),
        hidden=hidden,
        moments=moments,
        batch=batch,
        direction=direction,
        bias=draw(st.booleans()),
        lengths=draw(st.one_of(st.none(), lengths)),
        keep=None if onnx else draw(st.one_of(st.none(), st.lists(row, min_size=moments, max_size=moments))),
        initial=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
        **more,
    )
