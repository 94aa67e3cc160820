"""Shape rules: what type an operator gives for the types of its inputs.

Every rule takes the input types (None where absent), the attributes and `same`, which settles
that two dimensions are one: the checker's insists that they are equal already, an importer's may
learn from it. Rules raise `InputError`; `infer` in `ops.py` adds the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from edgelstm.errors import InputError
from edgelstm.graph.dims import Dim, Shape, product
from edgelstm.graph.ir import TensorType

Inputs: TypeAlias = Sequence[TensorType | None]
Attrs: TypeAlias = Mapping[str, Any]
Same: TypeAlias = Callable[[Dim, Dim, str], Dim]
Rule: TypeAlias = Callable[[Inputs, Attrs, Same], list[TensorType]]

FLOATS = ("float32",)
INTEGERS = ("int64", "int32", "uint8")
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def strict(left: Dim, right: Dim, what: str) -> Dim:
    """The checker's `same`: two dimensions must be equal for every size."""
    if left != right:
        raise InputError(f"{what}: expected equal sizes, got {left} and {right}")
    return left


def need(value: TensorType | None, role: str, ranks: Sequence[int] = (), dtypes: Sequence[str] = ()) -> TensorType:
    """An input that must be there, of one of these ranks and dtypes."""
    if value is None:
        raise InputError(f"input {role} is missing")
    if ranks and value.rank not in ranks:
        raise InputError(f"input {role}: expected {' or '.join(map(str, ranks))} axes, got {value}")
    if dtypes and value.dtype not in dtypes:
        raise InputError(f"input {role}: expected {' or '.join(dtypes)}, got {value}")
    return value


def axis_of(axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not -rank <= axis < rank:
        raise InputError(f"axis {axis} is outside a tensor of {rank} axes")
    return axis % rank


def distinct(axes: Sequence[int], rank: int) -> list[int]:
    """`axes` counted from the front, none of them twice."""
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) < len(found):
        raise InputError(f"axes {tuple(axes)} name one axis twice")
    return found


def broadcast_shapes(shapes: Sequence[Shape], same: Same, what: str = "broadcast") -> Shape:
    """NumPy broadcasting over symbolic shapes; a symbol against 1 keeps the symbol."""
    rank = max((len(shape) for shape in shapes), default=0)
    out: list[Dim] = []
    for position in range(-rank, 0):
        dim: Dim = 1
        for shape in shapes:
            other = shape[position] if -position <= len(shape) else 1
            if dim == 1:
                dim = other
            elif other != 1:
                dim = same(dim, other, f"{what}, axis {position}")
        out.append(dim)
    return tuple(out)


def unary(dtypes: Sequence[str] = FLOATS) -> Rule:
    """Same type out as in."""

    def rule(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
        return [need(inputs[0], "x", dtypes=dtypes)]

    return rule


def cast(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """The shape stays, the dtype becomes `to`."""
    return [TensorType(attrs["to"], need(inputs[0], "x").shape)]


def binary(dtypes: Sequence[str], out: str | None = None) -> Rule:
    """Broadcast two inputs of one dtype."""

    def rule(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
        a, b = need(inputs[0], "a", dtypes=dtypes), need(inputs[1], "b", dtypes=dtypes)
        if a.dtype != b.dtype:
            raise InputError(f"expected two inputs of one dtype, got {a} and {b}")
        return [TensorType(out or a.dtype, broadcast_shapes([a.shape, b.shape], same))]

    return rule


def where(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """condition ? a : b, broadcast."""
    condition = need(inputs[0], "condition", dtypes=("bool",))
    a, b = need(inputs[1], "a"), need(inputs[2], "b")
    if a.dtype != b.dtype:
        raise InputError(f"expected two branches of one dtype, got {a} and {b}")
    return [TensorType(a.dtype, broadcast_shapes([condition.shape, a.shape, b.shape], same))]


def along_axis(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """softmax and log_softmax."""
    x = need(inputs[0], "x", dtypes=FLOATS)
    axis_of(attrs["axis"], x.rank)
    return [x]


def reduce(dtypes: Sequence[str]) -> Rule:
    """Drop (or keep as 1) the reduced axes."""

    def rule(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
        x = need(inputs[0], "x", dtypes=dtypes)
        axes = distinct(attrs["axes"], x.rank)
        return [TensorType(x.dtype, _reduced(x.shape, set(axes), attrs["keepdims"]))]

    return rule


def argmax(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """Index of the largest along one axis."""
    x = need(inputs[0], "x", dtypes=FLOATS + INTEGERS)
    return [TensorType("int64", _reduced(x.shape, {axis_of(attrs["axis"], x.rank)}, attrs["keepdims"]))]


def _reduced(shape: Shape, axes: set[int], keepdims: int) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def layer_norm(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """Normalise over the axes from `axis` on."""
    x, scale = need(inputs[0], "x", dtypes=FLOATS), need(inputs[1], "scale", dtypes=FLOATS)
    axis = axis_of(attrs["axis"], x.rank)
    for role, value in (("scale", scale), ("bias", inputs[2])):
        if value is None:
            continue
        if value.rank != x.rank - axis:
            raise InputError(f"input {role}: expected {x.rank - axis} axes, got {value}")
        for mine, theirs in zip(value.shape, x.shape[axis:], strict=True):
            same(theirs, mine, f"{role} against the normalised axes")
    return [x]


def linear(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """x (..., in), w (out, in), b (out) -> (..., out)."""
    x, w = need(inputs[0], "x", dtypes=FLOATS), need(inputs[1], "w", (2,), FLOATS)
    if x.rank < 1:
        raise InputError(f"input x: expected at least 1 axis, got {x}")
    same(x.shape[-1], w.shape[1], "features of x against columns of w")
    if inputs[2] is not None:
        same(w.shape[0], need(inputs[2], "b", (1,), FLOATS).shape[0], "rows of w against b")
    return [TensorType(x.dtype, (*x.shape[:-1], w.shape[0]))]


def matmul(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """NumPy's matmul: leading axes broadcast, a 1-D operand gains and loses an axis."""
    a, b = need(inputs[0], "a", dtypes=FLOATS), need(inputs[1], "b", dtypes=FLOATS)
    if not a.rank or not b.rank:
        raise InputError(f"expected at least 1 axis each, got {a} and {b}")
    left = a.shape if a.rank > 1 else (1, *a.shape)
    right = b.shape if b.rank > 1 else (*b.shape, 1)
    same(left[-1], right[-2], "columns of a against rows of b")
    shape = [*broadcast_shapes([left[:-2], right[:-2]], same), left[-2], right[-1]]
    if b.rank == 1:
        del shape[-1]
    if a.rank == 1:
        del shape[-1 if b.rank == 1 else -2]
    return [TensorType(a.dtype, tuple(shape))]


def conv(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """x (N, C, L...), w (M, C/group, K...), b (M) -> (N, M, ...)."""
    x, w = need(inputs[0], "x", (3, 4), FLOATS), need(inputs[1], "w", dtypes=FLOATS)
    if w.rank != x.rank:
        raise InputError(f"expected w with {x.rank} axes, got {w}")
    channels, group = w.shape[1] * attrs["group"], attrs["group"]
    same(x.shape[1], channels, "channels of x against w and group")
    outputs = w.shape[0]
    if not isinstance(outputs, int) or group < 1 or outputs % group:
        raise InputError(f"group {group} does not divide {outputs} output channels")
    if inputs[2] is not None:
        same(outputs, need(inputs[2], "b", (1,), FLOATS).shape[0], "output channels of w against b")
    return [TensorType(x.dtype, (x.shape[0], outputs, *windows(x.shape[2:], w.shape[2:], attrs)))]


def pool(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """x (N, C, L...) -> (N, C, ...)."""
    x = need(inputs[0], "x", (3, 4), FLOATS)
    return [TensorType(x.dtype, (*x.shape[:2], *windows(x.shape[2:], attrs["kernel"], attrs)))]


def windows(lengths: Shape, kernel: Shape, attrs: Attrs) -> Shape:
    """Output lengths of a sliding window: floor((L + pads - dilation*(K-1) - 1) / stride) + 1."""
    rank = len(lengths)
    pads, strides, dilations = attrs["pads"], attrs["strides"], attrs["dilations"]
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise InputError(f"expected kernel, strides, dilations for {rank} axes and {2 * rank} pads")
    out: list[Dim] = []
    for axis, (length, size) in enumerate(zip(lengths, kernel, strict=True)):
        if not isinstance(size, int) or size < 1 or strides[axis] < 1 or dilations[axis] < 1 or min(pads) < 0:
            raise InputError(
                f"expected kernel, strides and dilations of at least 1 and pads of at least 0, got {attrs}"
            )
        room = length + pads[axis] + pads[axis + rank] - dilations[axis] * (size - 1) - 1
        if isinstance(room, int) and room < 0:
            raise InputError(f"a window of {size} (dilation {dilations[axis]}) does not fit a length of {length}")
        out.append(room // strides[axis] + 1)
    return tuple(out)


def reshape(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """The element count must be equal for every size."""
    x = need(inputs[0], "x")
    if any(isinstance(size, int) and size < 0 for size in attrs["shape"]):
        raise InputError(f"expected sizes of at least 0, got shape {attrs['shape']}")
    same(product(x.shape), product(attrs["shape"]), f"elements of {x} against shape {attrs['shape']}")
    return [TensorType(x.dtype, tuple(attrs["shape"]))]


def expect(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """The same values, right only where each size of `given` is that of `wanted`: checked once both are numbers."""
    x, given, wanted = need(inputs[0], "x"), attrs["given"], attrs["wanted"]
    if len(given) != len(wanted):
        raise InputError(f"expected as many sizes wanted as given, got {given} and {wanted}")
    settled = dict(zip(given, wanted, strict=True))
    for found, size in zip(given, wanted, strict=True):
        if isinstance(found, int) and isinstance(size, int) and found != size:
            raise InputError(f"this part of the model takes a size of {size} only, got {found}")
    return [TensorType(x.dtype, tuple(settled.get(dim, dim) for dim in x.shape))]


def transpose(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """Axis i of the output is axis perm[i] of the input."""
    x, perm = need(inputs[0], "x"), attrs["perm"]
    if sorted(perm) != list(range(x.rank)):
        raise InputError(f"perm {perm} does not permute the {x.rank} axes of {x}")
    return [TensorType(x.dtype, tuple(x.shape[axis] for axis in perm))]


def slice_(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """start:stop:step along each of `axes`; bounds are resolved already (0 <= start; step -1 may stop at -1)."""
    x = need(inputs[0], "x")
    shape = list(x.shape)
    lists = [attrs[name] for name in ("axes", "starts", "stops", "steps")]
    if len(set(map(len, lists))) > 1:
        raise InputError(f"slice: expected as many starts, stops and steps as axes, got {dict(attrs)}")
    axes = distinct(attrs["axes"], x.rank)
    for axis, start, stop, step in zip(axes, *lists[1:], strict=True):
        if step == 0:
            raise InputError(f"slice of axis {axis}: a step of 0")
        span = (stop - start) if step > 0 else (start - stop)
        count = (span + abs(step) - 1) // abs(step)
        if isinstance(count, int) and count < 0:
            raise InputError(f"slice {start}:{stop}:{step} of axis {axis} has a negative length")
        bounds = (
            ((start, 0, shape[axis]), (stop, 0, shape[axis]))
            if step > 0
            else ((start, 0, shape[axis] - 1), (stop, -1, shape[axis]))
        )
        for bound, low, high in bounds:
            below, above = bound - low, high - bound
            if (isinstance(below, int) and below < 0) or (isinstance(above, int) and above < 0 and count != 0):
                raise InputError(f"slice {start}:{stop}:{step} leaves axis {axis} of {x}")
        shape[axis] = count
    return [TensorType(x.dtype, tuple(shape))]


def concat(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """Lengths along `axis` add up; the other axes agree."""
    parts = [need(value, f"number {index}") for index, value in enumerate(inputs)]
    if not parts:
        raise InputError("expected at least one input")
    axis = axis_of(attrs["axis"], parts[0].rank)
    shape = list(parts[0].shape)
    for part in parts[1:]:
        if part.rank != len(shape) or part.dtype != parts[0].dtype:
            raise InputError(f"expected inputs of one dtype and rank, got {parts[0]} and {part}")
        for index, dim in enumerate(part.shape):
            if index == axis:
                shape[axis] = shape[axis] + dim
            else:
                shape[index] = same(shape[index], dim, f"axis {index} of the inputs")
    return [TensorType(parts[0].dtype, tuple(shape))]


def broadcast(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """Repeat x to `shape` (as numpy.broadcast_to)."""
    x = need(inputs[0], "x")
    target = tuple(attrs["shape"])
    if x.rank > len(target):
        raise InputError(f"cannot broadcast {x} to {target}: too many axes")
    for mine, wanted in zip(x.shape[::-1], target[::-1], strict=False):
        if mine != 1:
            same(mine, wanted, f"broadcast of {x} to {target}")
    return [TensorType(x.dtype, target)]


def arange(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """0, 1, 2... of shape (n,)."""
    if len(attrs["shape"]) != 1:
        raise InputError(f"expected a shape of one axis, got {attrs['shape']}")
    return [TensorType("int64", tuple(attrs["shape"]))]


def pad(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """`pads` holds the front of every axis, then the back of every axis."""
    x, pads = need(inputs[0], "x"), attrs["pads"]
    if len(pads) != 2 * x.rank or min(pads, default=0) < 0:
        raise InputError(f"expected {2 * x.rank} pads of at least 0, got {pads}")
    if attrs["mode"] not in ("constant", "reflect", "edge"):
        raise InputError(f"mode {attrs['mode']!r}: expected constant, reflect or edge")
    return [TensorType(x.dtype, tuple(dim + pads[i] + pads[i + x.rank] for i, dim in enumerate(x.shape)))]


def reverse_sequence(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """Each batch row reversed over its own length."""
    x, lengths = need(inputs[0], "x"), need(inputs[1], "lengths", (1,), INTEGERS)
    if {attrs["batch_axis"], attrs["time_axis"]} != {0, 1} or x.rank < 2:
        raise InputError(f"expected batch_axis and time_axis to be 0 and 1, got {dict(attrs)} for {x}")
    same(x.shape[attrs["batch_axis"]], lengths.shape[0], "rows of x against lengths")
    return [x]


def gather(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """table.take(indices, axis)."""
    table, indices = need(inputs[0], "table"), need(inputs[1], "indices", dtypes=INTEGERS)
    axis = axis_of(attrs["axis"], table.rank)
    return [TensorType(table.dtype, (*table.shape[:axis], *indices.shape, *table.shape[axis + 1 :]))]


def put(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
    """x with one entry along `axis` replaced: value has size 1 there, index has shape (1,)."""
    x, value, index = need(inputs[0], "x"), need(inputs[1], "value"), need(inputs[2], "index", (1,), INTEGERS)
    if value.dtype != x.dtype or value.rank != x.rank:
        raise InputError(f"input value: expected the dtype and rank of x, {x}, got {value}")
    same(index.shape[0], 1, "index")
    axis = axis_of(attrs["axis"], x.rank)
    for place, (mine, theirs) in enumerate(zip(x.shape, value.shape, strict=True)):
        same(1 if place == axis else mine, theirs, f"axis {place} of value")
    return [x]


def recurrent(op: str) -> Rule:
    """x (T, B, I) -> y (T, D, B, H), last h (D, B, H) and, for the LSTM, last c (D, B, H).

    Where `keep` (T, B) is true, a row keeps its state at that step, and y repeats its h.
    """

    def rule(inputs: Inputs, attrs: Attrs, same: Same) -> list[TensorType]:
        x, _, _ = (need(inputs[i], role, (3,), FLOATS) for i, role in enumerate(("x", "w", "r")))
        hidden, directions = attrs["hidden_size"], 2 if attrs["direction"] == "bidirectional" else 1
        if attrs["direction"] not in ("forward", "reverse", "bidirectional"):
            raise InputError(f"direction {attrs['direction']!r}: expected forward, reverse or bidirectional")
        projection = inputs[8] if op == "lstm" else None
        output = hidden if projection is None else need(projection, "proj", (3,), FLOATS).shape[1]
        gates = GATES[op] * hidden
        batch = x.shape[1]
        wanted: dict[str, Shape] = {
            "w": (directions, gates, x.shape[2]),
            "r": (directions, gates, output),
            "b": (directions, 2 * gates),
            "lengths": (batch,),
            "h0": (directions, batch, output),
            "c0": (directions, batch, hidden),
            "p": (directions, 3 * hidden),
            "proj": (directions, output, hidden),
            "keep": (x.shape[0], batch),
        }
        for role, value in zip(RECURRENT_INPUTS[op][1:], inputs[1:], strict=True):
            if value is None:
                continue
            need(value, role, (len(wanted[role]),), DTYPES_OF_ROLES.get(role, FLOATS))
            for axis, (expected, got) in enumerate(zip(wanted[role], value.shape, strict=True)):
                if role in ("h0", "c0") and axis == 1 and got == 1:
                    continue  # one start state for every row
                same(expected, got, f"axis {axis} of {role}")
        y = TensorType(x.dtype, (x.shape[0], directions, batch, output))
        h = TensorType(x.dtype, (directions, batch, output))
        c = TensorType(x.dtype, (directions, batch, hidden))
        return [y, h, c] if op == "lstm" else [y, h]

    return rule


RECURRENT_INPUTS = {
    "rnn": ("x", "w", "r", "b", "lengths", "h0", "keep"),
    "gru": ("x", "w", "r", "b", "lengths", "h0", "keep"),
    "lstm": ("x", "w", "r", "b", "lengths", "h0", "c0", "p", "proj", "keep"),
}
DTYPES_OF_ROLES = {"lengths": INTEGERS, "keep": ("bool",)}
