"""Between memory and vectors or numbers."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgelstm.machine.simd import emit
from edgelstm.machine.simd.kinds import are_integers, f32x16, is_number


@intrinsic
def load(_typingctx, address, i):
    """Lanes i .. i+15 as a vector."""
    if not are_integers(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.load(emit.word(builder, *args), typ=emit.VF32, align=emit.ALIGN)

    return f32x16(types.int64, types.int64), generate


@intrinsic
def store(_typingctx, address, i, v):
    """Write all 16 lanes."""
    if not (are_integers(address, i) and v == f32x16):
        return None

    def generate(context, builder, _signature, args):
        builder.store(args[2], emit.word(builder, *args[:2]), align=emit.ALIGN)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16), generate


@intrinsic
def store_partial(_typingctx, address, i, v, n):
    """Write the first n lanes, 0 <= n <= 16, and nothing past them."""
    if not (are_integers(address, i, n) and v == f32x16):
        return None

    def generate(context, builder, _signature, args):
        emit.store_partial(context, builder, emit.word(builder, *args[:2]), args[2], args[3])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16, types.int64), generate


@intrinsic
def broadcast(_typingctx, address, i):
    """One float of memory in every lane."""
    if not are_integers(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return emit.splat(builder, builder.load(emit.word(builder, *args), typ=emit.F32, align=emit.ALIGN), emit.VF32)

    return f32x16(types.int64, types.int64), generate


@intrinsic
def load_scalar(_typingctx, address, i):
    """One float32."""
    if not are_integers(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.load(emit.word(builder, *args), typ=emit.F32, align=emit.ALIGN)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def store_scalar(_typingctx, address, i, x):
    """Write one float32; x is cast to it."""
    if not (are_integers(address, i) and is_number(x)):
        return None

    def generate(context, builder, _signature, args):
        builder.store(args[2], emit.word(builder, *args[:2]), align=emit.ALIGN)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), generate


@intrinsic
def load_int(_typingctx, address, i):
    """One int32 of memory as an int64."""
    if not are_integers(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.sext(builder.load(emit.word(builder, *args), typ=emit.I32, align=emit.ALIGN), emit.I64)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def store_int(_typingctx, address, i, n):
    """Write the low 32 bits of an integer (or of a bool: 0 or 1)."""
    if not (are_integers(address, i) and isinstance(n, (types.Integer, types.Boolean))):
        return None

    def generate(context, builder, _signature, args):
        builder.store(builder.trunc(args[2], emit.I32), emit.word(builder, *args[:2]), align=emit.ALIGN)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def read64(_typingctx, address, i):
    """One int64 from a table of int64; here i counts 64-bit words."""
    if not are_integers(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.load(emit.word(builder, *args, words=2), typ=emit.I64, align=8)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def write64(_typingctx, address, i, n):
    """Write one int64 to a table of int64; here i counts 64-bit words."""
    if not are_integers(address, i, n):
        return None

    def generate(context, builder, _signature, args):
        builder.store(args[2], emit.word(builder, *args[:2], words=2), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def prefetch(_typingctx, address):
    """Ask for the cache line at an address, which may be any number."""
    if not are_integers(address):
        return None

    def generate(context, builder, _signature, args):
        fnty = ir.FunctionType(ir.VoidType(), (ir.PointerType(), emit.I32, emit.I32, emit.I32))
        function = cgutils.get_or_insert_function(builder.module, fnty, "llvm.prefetch.p0")
        flags = [ir.Constant(emit.I32, value) for value in (0, 3, 1)]  # read, keep in every cache, data
        builder.call(function, (builder.inttoptr(args[0], ir.PointerType()), *flags))
        return context.get_dummy_value()

    return types.void(types.int64), generate
