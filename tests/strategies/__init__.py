"""Random graphs over the whole operator table, and readings to feed them.

A graph grows node by node. Every value is known with an interval and an estimate of its rounding error, so that
no program drifts into a range where float32 has no digits left: the tolerance of the tests then means something.
What jumps (comparisons, argmax, conversion to integers) only sees values that are the same bits in every executor.
"""

from __future__ import annotations

from typing import Any

from edgelstm.graph.dims import TIME, symbols
from tests.strategies.builder import Builder, Case, RejectError
from tests.strategies.cells import make_cell
from tests.strategies.movement import (
    make_arange,
    make_broadcast,
    make_concat,
    make_expect,
    make_gather,
    make_pad,
    make_put,
    make_reshape,
    make_reverse_sequence,
    make_slice,
    make_transpose,
)
from tests.strategies.pointwise import (
    ALPHA,
    make_arithmetic,
    make_bounded,
    make_cast,
    make_comparison,
    make_div,
    make_exp,
    make_extreme,
    make_identity,
    make_logic,
    make_not,
    make_pow,
    make_root,
    make_rounded,
    make_sigmoid_like,
    make_signed,
    make_where,
    make_with_parameters,
)
from tests.strategies.products import make_conv, make_linear, make_matmul, make_pool
from tests.strategies.reduce import make_argmax, make_layer_norm, make_reduce, make_softmax

__all__ = ["MAKERS", "Builder", "Case", "RejectError", "moves_in_time", "random_case"]

MAKERS = {
    **dict.fromkeys(("rnn", "gru", "lstm"), make_cell),
    "linear": make_linear,
    "matmul": make_matmul,
    "conv": make_conv,
    **dict.fromkeys(("max_pool", "avg_pool"), make_pool),
    "arange": make_arange,
    **dict.fromkeys(("floor", "ceil", "round"), make_rounded),
    "sigmoid": make_sigmoid_like(0.0, 1.0, 0.25),
    "tanh": make_sigmoid_like(-1.0, 1.0),
    **dict.fromkeys(("relu", "softsign", "softplus", "erf"), make_bounded),
    **dict.fromkeys(ALPHA, make_with_parameters),
    "exp": make_exp,
    **dict.fromkeys(("log", "sqrt", "reciprocal"), make_root),
    **dict.fromkeys(("neg", "abs"), make_signed),
    "not": make_not,
    "identity": make_identity,
    "cast": make_cast,
    **dict.fromkeys(("add", "sub", "mul"), make_arithmetic),
    "div": make_div,
    "pow": make_pow,
    **dict.fromkeys(("maximum", "minimum"), make_extreme),
    **dict.fromkeys(("equal", "less", "greater"), make_comparison),
    **dict.fromkeys(("and", "or"), make_logic),
    "where": make_where,
    **dict.fromkeys(("softmax", "log_softmax"), make_softmax),
    **{f"reduce_{kind}": make_reduce for kind in ("sum", "mean", "max", "min", "prod")},
    "argmax": make_argmax,
    "layer_norm": make_layer_norm,
    "reshape": make_reshape,
    "expect": make_expect,
    "transpose": make_transpose,
    "slice": make_slice,
    "concat": make_concat,
    "broadcast": make_broadcast,
    "pad": make_pad,
    "reverse_sequence": make_reverse_sequence,
    "gather": make_gather,
    "put": make_put,
}
CELLS = ("rnn", "gru", "lstm")


def random_case(seed: int, streamable: bool = False, nodes: int | None = None, ops: Any = None) -> Case:
    """The graph of a seed: the same on every machine."""
    allowed = tuple(MAKERS) if ops is None else tuple(ops)
    whole = ("reverse_sequence", "put")  # which no stream takes
    makers = {op: MAKERS[op] for op in allowed if not (streamable and op in whole)}
    builder = Builder(seed, streamable, makers)
    builder.start()
    if any(op in allowed for op in CELLS) and (streamable or builder.chance(0.6)):
        builder.makers = {op: MAKERS[op] for op in CELLS if op in allowed}
        builder.grow(1)
        builder.makers = makers
    builder.grow(nodes or builder.integer(2, 16))
    return builder.finish()


def moves_in_time(case: Case) -> bool:
    """Whether any input runs over T."""
    return any(TIME in symbols(dim) for kind in case.graph.inputs.values() for dim in kind.shape)
