"""How vector operations are emitted: the one place where the target's abilities choose an implementation."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from edgelstm.program.opcodes import LANES

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
F32 = ir.FloatType()
VF32, VI32, VI1 = (ir.VectorType(element, LANES) for element in (F32, I32, I1))
ALIGN = 4


def can(context, *features):
    """Whether the CPU that code is made for has one of these features (all AArch64 have NEON)."""
    triple, _cpu, enabled = context.codegen().magic_tuple()
    if "neon" in features and triple.startswith(("aarch64", "arm64")):
        return True
    enabled = set(enabled.split(","))
    return any(f"+{feature}" in enabled for feature in features)


def fma(context, builder, a, b, c):
    """a * b + c, rounded once where the CPU can."""
    # Without the instruction llvm.fma is a library call per lane; fmuladd then multiplies and adds.
    name = "llvm.fma" if can(context, "fma", "neon", "vfp4") else "llvm.fmuladd"
    return call(builder, name, a.type, (a, b, c))


def round_even(context, builder, v):
    """To the nearest integer, ties to even."""
    # Without the instruction llvm.roundeven is a library call per lane; adding 1.5 * 2**23 leaves no
    # bits below one, for |v| < 2**22; larger values and NaN pass through.
    if can(context, "sse4.1", "avx", "neon"):
        return call(builder, "llvm.roundeven", v.type, (v,))
    magic, limit = constant(v.type, 12582912.0), constant(v.type, 4194304.0)
    rounded = builder.fsub(builder.fadd(v, magic), magic)
    small = builder.fcmp_ordered("<", call(builder, "llvm.fabs", v.type, (v,)), limit)
    rounded = call(builder, "llvm.copysign", v.type, (rounded, v))
    return builder.select(small, rounded, v)


def clamp(context, builder, v, low, high):
    """v within [low, high]; NaN stays."""
    # With bounds that are numbers the two forms agree bit for bit; NEON's instructions keep NaN.
    if can(context, "neon"):
        v = call(builder, "llvm.maximum", v.type, (v, low))
        return call(builder, "llvm.minimum", v.type, (v, high))
    v = builder.select(builder.fcmp_ordered(">", low, v), low, v)
    return builder.select(builder.fcmp_ordered("<", high, v), high, v)


def store_partial(context, builder, pointer, v, count):
    """Write the first lanes, `count` of them (an int64), and nothing past them."""
    if can(context, "avx", "avx512f"):
        fnty = ir.FunctionType(ir.VoidType(), (VF32, ir.PointerType(), I32, VI1))
        function = cgutils.get_or_insert_function(builder.module, fnty, "llvm.masked.store.v16f32.p0")
        builder.call(function, (v, pointer, ir.Constant(I32, ALIGN), first_lanes(builder, count)))
        return
    # Elsewhere a masked store becomes sixteen branches: write 8, 4, 2 and 1 lanes as the bits of the count say.
    with builder.if_else(builder.icmp_signed("==", count, ir.Constant(I64, LANES))) as (whole, part):
        with whole:
            builder.store(v, pointer, align=ALIGN)
        with part:
            for lanes in (8, 4, 2, 1):
                v, pointer = _store_some(builder, pointer, v, count, lanes)


def _store_some(builder, pointer, v, count, lanes):
    """If the count has this bit, write so many lanes; the vector and pointer for what is left."""
    undefined = ir.Constant(VF32, ir.Undefined)
    before, bit = builder.block, builder.and_(count, ir.Constant(I64, lanes))
    with builder.if_then(builder.icmp_signed("!=", bit, ir.Constant(I64, 0))):
        first = builder.shuffle_vector(v, undefined, ir.Constant(ir.VectorType(I32, lanes), list(range(lanes))))
        builder.store(first, pointer, align=ALIGN)
        order = [(lane + lanes) % LANES for lane in range(LANES)]
        rest = builder.shuffle_vector(v, undefined, ir.Constant(VI32, order))
        beyond = builder.gep(pointer, (ir.Constant(I64, lanes),), source_etype=F32)
        inside = builder.block
    values = []
    for old, new in ((v, rest), (pointer, beyond)):
        phi = builder.phi(old.type)
        phi.add_incoming(old, before)
        phi.add_incoming(new, inside)
        values.append(phi)
    return values


def exponent_from_low_bits(_context, builder, v):
    """The low 8 bits as the exponent of a float."""
    shifted = builder.shl(builder.bitcast(v, VI32), ir.Constant(VI32, [23] * LANES))
    return builder.bitcast(shifted, VF32)


# --- pieces -------------------------------------------------------------------------------------------------


def call(builder, name, ty, args):
    """Call an intrinsic that is overloaded on its one type."""
    suffix = "v16f32" if ty == VF32 else "f32"
    fnty = ir.FunctionType(ty, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, fnty, f"{name}.{suffix}"), args)


def constant(ty, value):
    """A number of a scalar type, or in every lane of a vector."""
    return ir.Constant(ty, [value] * LANES) if isinstance(ty, ir.VectorType) else ir.Constant(ty, value)


def first_lanes(builder, count):
    """The mask of the first lanes, `count` of them (an int64)."""
    numbers = ir.Constant(VI32, list(range(LANES)))
    return builder.icmp_signed("<", numbers, splat(builder, builder.trunc(count, I32), VI32))


def splat(builder, scalar, vector):
    """A scalar in every lane of a vector type."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(VI32, [0] * LANES))


def word(builder, address, index, words=1):
    """Pointer to the 32-bit word `index` (`words=2`: 64-bit word) past the address."""
    base = builder.inttoptr(address, ir.PointerType())
    return builder.gep(base, (index,), source_etype=F32 if words == 1 else I64)
