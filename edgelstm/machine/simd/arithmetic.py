"""Operators and functions that work lane by lane."""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, lower_builtin, type_callable

from edgelstm.machine.simd import emit
from edgelstm.machine.simd.kinds import f32x16, is_operand, mask16, vectors
from edgelstm.program.opcodes import LANES


def _binary(op, result, how):
    """An operator of two vectors, or of a vector and a number; `how` takes the builder and both vectors."""

    @type_callable(op)
    def typing(_context):
        def typer(a, b):
            return result if f32x16 in (a, b) and is_operand(a) and is_operand(b) else None

        return typer

    def generate(context, builder, signature, args):
        return how(builder, *vectors(context, builder, signature.args, args))

    lower_builtin(op, f32x16, f32x16)(generate)
    for number in (types.Float, types.Integer):
        lower_builtin(op, f32x16, number)(generate)
        lower_builtin(op, number, f32x16)(generate)


def _arithmetic(op, method):
    _binary(op, f32x16, lambda builder, a, b: getattr(builder, method)(a, b))


def _comparison(op, symbol):
    # Only != holds for NaN, as in IEEE 754.
    method = "fcmp_unordered" if symbol == "!=" else "fcmp_ordered"
    _binary(op, mask16, lambda builder, a, b: getattr(builder, method)(symbol, a, b))


def _mask_operator(op, method):
    @type_callable(op)
    def typing(_context):
        def typer(a, b):
            return mask16 if a == b == mask16 else None

        return typer

    lower_builtin(op, mask16, mask16)(lambda _context, builder, _signature, args: getattr(builder, method)(*args))


def _unary(op, ty, how):
    @type_callable(op)
    def typing(_context):
        def typer(a):
            return ty if a == ty else None

        return typer

    lower_builtin(op, ty)(lambda _context, builder, _signature, args: how(builder, args[0]))


for _ops, _method in (
    ((operator.add, operator.iadd), "fadd"),
    ((operator.sub, operator.isub), "fsub"),
    ((operator.mul, operator.imul), "fmul"),
    ((operator.truediv, operator.itruediv), "fdiv"),
):
    for _op in _ops:
        _arithmetic(_op, _method)
for _op, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _comparison(_op, _symbol)
for _ops, _method in (
    ((operator.and_, operator.iand), "and_"),
    ((operator.or_, operator.ior), "or_"),
    ((operator.xor, operator.ixor), "xor"),
):
    for _op in _ops:
        _mask_operator(_op, _method)
_unary(operator.neg, f32x16, lambda builder, v: builder.fneg(v))
_unary(operator.invert, mask16, lambda builder, v: builder.not_(v))


@intrinsic
def fma(_typingctx, a, b, c):
    """a * b + c, rounded once where the CPU can; vectors, or three float32."""
    if f32x16 in (a, b, c):
        result = f32x16
    elif a == b == c == types.float32:
        result = types.float32
    else:
        return None
    if not all(map(is_operand, (a, b, c))):
        return None

    def generate(context, builder, signature, args):
        if result == f32x16:
            args = vectors(context, builder, signature.args, args)
        return emit.fma(context, builder, *args)

    return result(a, b, c), generate


def _by_comparison(name, symbol, doc):
    def function(_typingctx, a, b):
        if not (f32x16 in (a, b) and is_operand(a) and is_operand(b)):
            return None

        def generate(context, builder, signature, args):
            first, second = vectors(context, builder, signature.args, args)
            return builder.select(builder.fcmp_ordered(symbol, second, first), second, first)

        return f32x16(a, b), generate

    function.__name__ = name
    function.__doc__ = doc
    return intrinsic(function)


# Compare and select: one instruction on x86, and never the library's fminf that ARMv7 would call.
minimum = _by_comparison("minimum", "<", "The lesser; the first operand where either is NaN or both are equal.")
maximum = _by_comparison("maximum", ">", "The greater; the first operand where either is NaN or both are equal.")


@intrinsic
def clamp(_typingctx, v, low, high):
    """v within [low, high]; NaN stays. The bounds must not be 0 of the wrong sign, where the sign of 0 matters."""
    if not (v == f32x16 and is_operand(low) and is_operand(high)):
        return None

    def generate(context, builder, signature, args):
        return emit.clamp(context, builder, *vectors(context, builder, signature.args, args))

    return f32x16(v, low, high), generate


@intrinsic
def select(_typingctx, mask, a, b):
    """a where the mask holds, else b, lane by lane."""
    if not (mask == mask16 and is_operand(a) and is_operand(b)):
        return None

    def generate(context, builder, signature, args):
        return builder.select(args[0], *vectors(context, builder, signature.args[1:], args[1:]))

    return f32x16(mask16, a, b), generate


def _one_vector(name, doc, how):
    def function(_typingctx, v):
        if v != f32x16:
            return None

        def generate(context, builder, _signature, args):
            return how(context, builder, args[0])

        return f32x16(f32x16), generate

    function.__name__ = name
    function.__doc__ = doc
    return intrinsic(function)


round_even = _one_vector("round_even", "To the nearest integer, ties to even.", emit.round_even)
exponent_from_low_bits = _one_vector(
    "exponent_from_low_bits",
    "2**(b - 127), b the low 8 bits of v's pattern; the ninth must be 0.",
    emit.exponent_from_low_bits,
)
absolute = _one_vector("absolute", "|v|.", lambda _c, b, v: emit.call(b, "llvm.fabs", emit.VF32, (v,)))
sqrt = _one_vector(
    "sqrt",
    "The square root, correctly rounded; NaN below zero.",
    lambda _c, b, v: emit.call(b, "llvm.sqrt", emit.VF32, (v,)),
)


@intrinsic
def copysign(_typingctx, magnitude, sign):
    """|magnitude| with the sign bit of `sign`."""
    if not (magnitude == f32x16 and sign == f32x16):
        return None

    def generate(_context, builder, _signature, args):
        return emit.call(builder, "llvm.copysign", emit.VF32, args)

    return f32x16(f32x16, f32x16), generate


@intrinsic
def exponent(_typingctx, v):
    """floor(log2 v) of normal positive v, as a float."""
    if v != f32x16:
        return None

    def generate(_context, builder, _signature, args):
        bits = builder.lshr(builder.bitcast(args[0], emit.VI32), ir.Constant(emit.VI32, [23] * LANES))
        return builder.sitofp(builder.sub(bits, ir.Constant(emit.VI32, [127] * LANES)), emit.VF32)

    return f32x16(f32x16), generate


@intrinsic
def mantissa(_typingctx, v):
    """v / 2**floor(log2 v) of normal positive v: in [1, 2)."""
    if v != f32x16:
        return None

    def generate(_context, builder, _signature, args):
        bits = builder.bitcast(args[0], emit.VI32)
        fraction = builder.and_(bits, ir.Constant(emit.VI32, [0x007FFFFF] * LANES))
        return builder.bitcast(builder.or_(fraction, ir.Constant(emit.VI32, [0x3F800000] * LANES)), emit.VF32)

    return f32x16(f32x16), generate
