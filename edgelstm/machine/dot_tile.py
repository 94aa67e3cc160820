"""Sums of products of 8-bit integers for several rows of activations: every weight is loaded once for all of them.

A tile is rows by vectors of sums that stand in registers while k goes on. Sums are exact, so the bits of a row do not
depend on the rows beside it. Six rows by four vectors fill the 32 whole registers of AVX-512; elsewhere a vector of
sums is two or four registers, and a tile is one vector wide.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgelstm.machine import dot
from edgelstm.machine.simd import LANES, emit

_BYTES = ir.VectorType(ir.IntType(8), 4 * LANES)
_VECTOR = 4 * LANES  # bytes
# Variant → rows and vectors of a tile.
_SHAPES = {"vnni512": (6, 4), "vnni256": (6, 1), "avx2": (4, 1), "ssse3": (2, 1), "sdot": (6, 1), "neon": (4, 1)}
_ALONE = (1, 1)


def _shape(context):
    return _SHAPES.get(dot.choice(context), _ALONE)


@intrinsic
def tallest(_typingctx):
    """How many rows a tile has at most; 1 where rows go alone. Known when compiling."""
    return types.int64(), lambda context, _builder, _signature, _args: ir.Constant(emit.I64, _shape(context)[0])


@intrinsic
def widest(_typingctx):
    """How many vectors of sums a tile has at most, a divisor of four. Known when compiling."""
    return types.int64(), lambda context, _builder, _signature, _args: ir.Constant(emit.I64, _shape(context)[1])


def tile(group: int, rows: int | None = None):
    """The function of one tile in jitted code; `rows` None: as tall as there is.

    It takes the addresses and counts

        w, quads, q, q_row, factors, start, start_row, to, to_row

    and writes to[r][n] = start[r][n] + sum · (scale of row r · scale of n), one multiply-add, for the first `widest()`
    vectors of a packed group of `group` vectors at w (see `program/lower/int8.py`). Rows are q_row, start_row and
    to_row bytes apart; `factors` holds each row's scale, a float32, and its zero point, an int32.
    """

    @intrinsic
    def sums(_typingctx, w, quads, q, q_row, factors, start, start_row, to, to_row):
        def generate(context, builder, _signature, args):
            tall, wide = _shape(context)
            _emit(context, builder, group, rows or tall, min(wide, group), args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return sums


def _emit(context, builder, group, tall, wide, args):
    w, quads, q, q_row, factors, start, start_row, to, to_row = args
    lost = [_load(builder, w, _VECTOR * (group + n), emit.VI32) for n in range(wide)]
    zeros = [_load(builder, factors, 8 * r + 4, emit.I32) for r in range(tall)]
    sums = [[dot.start(context, builder, vector, zero) for vector in lost] for zero in zeros]
    sums = _accumulate(context, builder, sums, _beyond(builder, w, 2 * group * _VECTOR), group, quads, q, q_row)
    scales = [_load(builder, w, _VECTOR * n, emit.VF32) for n in range(wide)]
    for r, row in enumerate(sums):
        scale = emit.splat(builder, _load(builder, factors, 8 * r, emit.F32), emit.VF32)
        for n, total in enumerate(row):
            before = _load(builder, start, _VECTOR * n, emit.VF32)
            value = builder.sitofp(total, emit.VF32)
            value = emit.fma(context, builder, value, builder.fmul(scales[n], scale), before)
            builder.store(value, _pointer(builder, to, _VECTOR * n), align=emit.ALIGN)
        start, to = builder.add(start, start_row), builder.add(to, to_row)


def _accumulate(context, builder, sums, w, group, quads, q, q_row):
    """The sums and `quads` times four products of each."""
    rows = [q]
    while len(rows) < len(sums):
        rows.append(builder.add(rows[-1], q_row))
    before, loop, after = builder.block, builder.append_basic_block("quad"), builder.append_basic_block("sums")
    builder.cbranch(builder.icmp_signed(">", quads, ir.Constant(emit.I64, 0)), loop, after)
    builder.position_at_end(loop)
    j = builder.phi(emit.I64)
    j.add_incoming(ir.Constant(emit.I64, 0), before)
    held = [[builder.phi(emit.VI32) for _ in row] for row in sums]
    at = builder.add(w, builder.mul(j, ir.Constant(emit.I64, group * _VECTOR)))
    weights = [_load(builder, at, _VECTOR * n, _BYTES) for n in range(len(sums[0]))]
    added = []
    for row, address in zip(held, rows, strict=True):
        four = builder.load(emit.word(builder, address, j), typ=emit.I32, align=emit.ALIGN)
        x = emit.splat(builder, four, emit.VI32)
        added.append([dot.multiply(context, builder, *each, x) for each in zip(row, weights, strict=True)])
    following = builder.add(j, ir.Constant(emit.I64, 1))
    j.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, quads), loop, after)
    builder.position_at_end(after)
    return [
        [_merged(builder, *each, before, loop) for each in zip(*rows, strict=True)]
        for rows in zip(sums, held, added, strict=True)
    ]


def _merged(builder, first, phi, last, before, loop):
    """One sum as a phi of the loop, and what it is after it."""
    phi.add_incoming(first, before)
    phi.add_incoming(last, loop)
    result = builder.phi(first.type)
    result.add_incoming(first, before)
    result.add_incoming(last, loop)
    return result


def _beyond(builder, address, offset):
    return builder.add(address, ir.Constant(emit.I64, offset))


def _pointer(builder, address, offset):
    return builder.inttoptr(_beyond(builder, address, offset), ir.PointerType())


def _load(builder, address, offset, ty):
    return builder.load(_pointer(builder, address, offset), typ=ty, align=emit.ALIGN)
