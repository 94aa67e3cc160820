"""Which random graphs run step by step with recurrent state alone: a strict sieve for the generator.

The rules of `edgelstm.passes.stream` take more; what passes here, they must take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgelstm.errors import StreamError
from edgelstm.graph.dims import TIME, Dim, product, symbol, symbols
from edgelstm.graph.ir import Node, TensorType


@dataclass(frozen=True, slots=True)
class Clock:
    """How a value relates to time.

    Attributes:
        axis: the axis that runs over time; None when there is none.
        end: it depends on where the sequence ends (a last state, a last step).
    """

    axis: int | None = None
    end: bool = False


STILL = Clock()
Types: TypeAlias = Sequence[TensorType | None]
Clocks: TypeAlias = Sequence[Clock]
Rule: TypeAlias = Callable[[Node, Types, Clocks, Types], list[Clock]]


def advance(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    """The clocks of a node's outputs.

    Raises:
        StreamError: the node needs the future; names it and says what to do.
    """
    if all(clock == STILL for clock in clocks) and node.op != "broadcast":
        return [STILL] * len(out)
    if node.op not in RULES:
        raise refuse(node, "has no rule for the time axis")
    moving = any(clock.axis is not None for clock in clocks)
    if moving and any(clock.end for clock in clocks) and node.op not in ("rnn", "gru", "lstm"):
        raise refuse(node, "uses the end of the sequence at every step of it")
    return RULES[node.op](node, types, clocks, out)


def input_clock(name: str, kind: TensorType) -> Clock:
    """The clock of a model input, read off its shape.

    Raises:
        StreamError: time appears other than as one plain axis.
    """
    axes = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
    if not axes:
        return STILL
    if len(axes) > 1 or kind.shape[axes[0]] != symbol(TIME):
        raise StreamError(f"input {name!r} is {kind}: a stream needs one axis of length T")
    return Clock(axes[0])


def refuse(node: Node, reason: str) -> StreamError:
    """The refusal of one node, with the ways out."""
    return StreamError(
        f"{node.where} {reason}, so this model cannot be streamed: "
        "use predict() on whole sequences, or train the model with forward, per-step layers only"
    )


def _pointwise(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    rank = _rank(out[0])
    axes = set()
    for kind, clock in zip(types, clocks, strict=True):
        if kind is not None and clock.axis is not None:
            axes.add(clock.axis + rank - kind.rank)
    if len(axes) > 1:
        raise refuse(node, "mixes readings of different times")
    return [Clock(axes.pop() if axes else None, any(clock.end for clock in clocks))]


def _along(attribute: str) -> Rule:
    """Operators that run over one axis, which must not be time."""

    def rule(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
        clock = clocks[0]
        axis = int(str(node.attrs[attribute])) % _rank(types[0])
        if clock.axis == axis:
            raise refuse(node, "runs over all time steps")
        return [Clock(_after_reduction(clock.axis, {axis}, node), clock.end)]

    return rule


def _reduce(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    clock, rank = clocks[0], _rank(types[0])
    axes = {int(str(axis)) % rank for axis in _tuple(node, "axes")}
    if clock.axis in axes:
        raise refuse(node, "runs over all time steps")
    return [Clock(_after_reduction(clock.axis, axes, node), clock.end)]


def _after_reduction(time: int | None, axes: set[int], node: Node) -> int | None:
    if time is None or node.attrs.get("keepdims", 1):
        return time
    return time - sum(axis < time for axis in axes)


def _layer_norm(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    axis = int(str(node.attrs["axis"])) % _rank(types[0])
    if clocks[0].axis is not None and clocks[0].axis >= axis:
        raise refuse(node, "normalises over all time steps")
    return [clocks[0]]


def _linear(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    if clocks[0].axis == _rank(types[0]) - 1:
        raise refuse(node, "sums over all time steps")
    return [clocks[0]]


def _matmul(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    ranks = [_rank(kind) for kind in types]
    summed = (ranks[0] - 1, max(ranks[1] - 2, 0))
    if any(clock.axis == axis for clock, axis in zip(clocks, summed, strict=True)):
        raise refuse(node, "sums over all time steps")
    if min(ranks) < 2:
        raise refuse(node, "multiplies a vector by a sequence")
    return _pointwise(node, types, clocks, out)


def _windowed(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    clock = clocks[0]
    if clock.axis is None:
        return [clock]
    if clock.axis == 1:
        raise refuse(node, "mixes all time steps as channels")
    if clock.axis >= 2:
        axis, rank = clock.axis - 2, _rank(types[0]) - 2
        kernel = types[1].shape[2:] if node.op == "conv" and types[1] is not None else _tuple(node, "kernel")
        pads = _tuple(node, "pads")
        if kernel[axis] != 1 or _tuple(node, "strides")[axis] != 1 or pads[axis] or pads[axis + rank]:
            raise refuse(node, f"looks at a window of {kernel[axis]} time steps")
    return [clock]


def _reshape(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    clock = clocks[0]
    if clock.axis is None:
        return [clock]
    before, after = _shape(types[0]), _shape(out[0])
    front = product(before[: clock.axis])
    for axis, dim in enumerate(after):
        if TIME in symbols(dim):
            if dim == before[clock.axis] and product(after[:axis]) == front:
                return [Clock(axis, clock.end)]
            break
    raise refuse(node, f"mixes the time axis with others ({types[0]} to {out[0]})")


def _transpose(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    axis = clocks[0].axis
    return [Clock(None if axis is None else _tuple(node, "perm").index(axis), clocks[0].end)]


def _slice(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    clock = clocks[0]
    rank = _rank(types[0])
    axes = [int(str(axis)) % rank for axis in _tuple(node, "axes")]
    if clock.axis not in axes:
        return [clock]
    index = axes.index(clock.axis)
    start, stop, step = (_tuple(node, key)[index] for key in ("starts", "stops", "steps"))
    length = symbol(TIME)
    if step == 1 and start == 0 and stop == length:
        return [clock]
    if step == 1 and start == length - 1 and stop == length:
        return [Clock(None, True)]
    raise refuse(node, f"takes the time steps {start}:{stop}:{step}; a stream knows only the last one")


def _concat(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    axis = int(str(node.attrs["axis"])) % _rank(out[0])
    if any(clock.axis == axis for clock in clocks):
        raise refuse(node, "joins pieces along the time axis")
    return _pointwise(node, types, clocks, out)


def _broadcast(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    result = _pointwise(node, types, clocks, out)[0]
    moving = [axis for axis, dim in enumerate(_shape(out[0])) if TIME in symbols(dim)]
    if moving in ([], [result.axis]):
        return [result]
    if result != STILL or len(moving) > 1 or _shape(out[0])[moving[0]] != symbol(TIME):
        raise refuse(node, "repeats a value over time")
    return [Clock(moving[0])]


def _pad(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    axis, pads, rank = clocks[0].axis, _tuple(node, "pads"), _rank(types[0])
    if axis is not None and (pads[axis] or pads[axis + rank]):
        raise refuse(node, "pads the time axis")
    return [clocks[0]]


def _reverse_sequence(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    raise refuse(node, "reverses time")


def _gather(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    axis, table, indices = int(str(node.attrs["axis"])) % _rank(types[0]), clocks[0], clocks[1]
    if table.axis is not None:
        raise refuse(node, "picks from a sequence by index")
    return [Clock(None if indices.axis is None else indices.axis + axis, table.end or indices.end)]


def _recurrent(node: Node, types: Types, clocks: Clocks, out: Types) -> list[Clock]:
    if node.attrs["direction"] != "forward":
        raise refuse(node, f"runs {node.attrs['direction']}, from the end of the sequence")
    if node.inputs[4]:
        raise refuse(node, "takes sequence lengths")
    if any(clock.end for clock in clocks):
        raise refuse(node, "starts from the end of another sequence")
    if any(clock.axis is not None for clock in clocks[1:]):
        raise refuse(node, "takes weights or a start state that change over time")
    if clocks[0].axis != 0:
        raise refuse(node, "does not run over the model's time axis")
    return [Clock(0), *[Clock(None, True)] * (len(out) - 1)]


def _rank(kind: TensorType | None) -> int:
    return 0 if kind is None else kind.rank


def _shape(kind: TensorType | None) -> tuple[Dim, ...]:
    return () if kind is None else kind.shape


def _tuple(node: Node, key: str) -> tuple[Dim, ...]:
    value = node.attrs[key]
    return value if isinstance(value, tuple) else ()  # type: ignore[return-value]


_POINTWISE = (
    *("sigmoid", "tanh", "relu", "affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu"),
    *("softsign", "softplus", "floor", "ceil", "round", "exp", "log", "sqrt", "reciprocal", "erf", "neg", "abs"),
    *("not", "identity", "cast"),
    *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "equal", "less", "greater", "and", "or", "where"),
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    "softmax": _along("axis"),
    "log_softmax": _along("axis"),
    "argmax": _along("axis"),
    **{f"reduce_{kind}": _reduce for kind in ("sum", "mean", "max", "min", "prod")},
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "conv": _windowed,
    "max_pool": _windowed,
    "avg_pool": _windowed,
    "reshape": _reshape,
    "expect": _pointwise,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "broadcast": _broadcast,
    "pad": _pad,
    "reverse_sequence": _reverse_sequence,
    "gather": _gather,
    "rnn": _recurrent,
    "gru": _recurrent,
    "lstm": _recurrent,
}
