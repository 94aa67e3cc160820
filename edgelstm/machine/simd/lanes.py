"""From numbers to lanes and back: vectors and masks made of numbers, and what all lanes together give."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgelstm.machine.simd import emit
from edgelstm.machine.simd.kinds import are_integers, f32x16, is_number, mask16
from edgelstm.program.opcodes import LANES


@intrinsic
def has_wide_registers(_typingctx):
    """Whether 8 vectors fit the registers with room to spare (AVX-512: 32 of one vector each), known when compiling.

    Elsewhere 4 vectors are 8 or 16 registers: chains enough to hide a latency, and more would spill.
    """

    def generate(context, _builder, _signature, _args):
        return ir.Constant(emit.I1, int(emit.can(context, "avx512f")))

    return types.boolean(), generate


@intrinsic
def splat(_typingctx, x):
    """One number, cast to float32, in every lane."""
    if not is_number(x):
        return None

    def generate(_context, builder, _signature, args):
        return emit.splat(builder, args[0], emit.VF32)

    return f32x16(types.float32), generate


@intrinsic
def bits_to_float(_typingctx, n):
    """The float32 whose bits are the low 32 bits of n."""
    if not are_integers(n):
        return None

    def generate(_context, builder, _signature, args):
        return builder.bitcast(builder.trunc(args[0], emit.I32), emit.F32)

    return types.float32(types.int64), generate


@intrinsic
def float_to_bits(_typingctx, x):
    """The bits of a float32 as an int64 (sign-extended)."""
    if x != types.float32:
        return None

    def generate(_context, builder, _signature, args):
        return builder.sext(builder.bitcast(args[0], emit.I32), emit.I64)

    return types.int64(types.float32), generate


@intrinsic
def first_lanes(_typingctx, n):
    """The mask of the first n lanes."""
    if not are_integers(n):
        return None

    def generate(_context, builder, _signature, args):
        return emit.first_lanes(builder, args[0])

    return mask16(types.int64), generate


def _reduction(name, doc, combine):
    def function(_typingctx, v):
        if v != f32x16:
            return None

        def generate(context, builder, _signature, args):
            lanes = args[0]
            undefined = ir.Constant(emit.VF32, ir.Undefined)
            for half in (8, 4, 2, 1):
                order = [(lane + half) % LANES for lane in range(LANES)]
                lanes = combine(
                    context, builder, lanes, builder.shuffle_vector(lanes, undefined, ir.Constant(emit.VI32, order))
                )
            return builder.extract_element(lanes, ir.Constant(emit.I32, 0))

        return types.float32(f32x16), generate

    function.__name__ = name
    function.__doc__ = doc
    return intrinsic(function)


sum_lanes = _reduction(
    "sum_lanes",
    "The sum of all lanes, always in the same order: lane i with i+8, then i+4, i+2, i+1.",
    lambda _c, b, x, y: b.fadd(x, y),
)
max_lanes = _reduction(
    "max_lanes",
    "The greatest lane; unspecified where one is NaN.",
    lambda _c, b, x, y: b.select(b.fcmp_ordered(">", y, x), y, x),
)
min_lanes = _reduction(
    "min_lanes",
    "The least lane; unspecified where one is NaN.",
    lambda _c, b, x, y: b.select(b.fcmp_ordered("<", y, x), y, x),
)


@intrinsic
def lane(_typingctx, v, i):
    """One lane as a float32."""
    if not (v == f32x16 and are_integers(i)):
        return None

    def generate(_context, builder, _signature, args):
        return builder.extract_element(args[0], builder.trunc(args[1], emit.I32))

    return types.float32(f32x16, types.int64), generate


@intrinsic
def any_lane(_typingctx, mask):
    """Whether the mask holds in some lane."""
    if mask != mask16:
        return None

    def generate(_context, builder, _signature, args):
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(mask16), generate
