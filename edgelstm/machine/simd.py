"""Sixteen float32 lanes as a numba type, over raw addresses.

LLVM splits a 16-lane vector into whatever registers the CPU has (one on AVX-512, two on AVX2, four
on NEON), so there is one source and one weight layout for all machines.

An address is an int64 in bytes; `i` counts 32-bit words from it and may be negative. Nothing here
checks a bound: `program.verify` proves every operand in range first. Any 4-byte alignment will do.

All functions work in jitted code only. Vectors also take `+ - * /`, unary `-` and comparisons (which
give masks); the other operand may be a float. Masks take `& | ^` and `~`.
Nothing may be reassociated or contracted: results are the same bits on every CPU with FMA.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_F32 = ir.FloatType()
_VF32, _VI32, _VI1 = (ir.VectorType(element, LANES) for element in (_F32, _I32, _I1))
_ALIGN = 4


class _Float32x16(types.Type):
    def __init__(self):
        super().__init__(name="f32x16")


class _Mask16(types.Type):
    def __init__(self):
        super().__init__(name="mask16")


f32x16 = _Float32x16()
mask16 = _Mask16()


@register_model(_Float32x16)
class _Float32x16Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VF32)


@register_model(_Mask16)
class _Mask16Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VI1)


# --- the one place where the target's abilities choose an implementation -------------------------


def _can(context, *features):
    """Whether the CPU that code is made for has one of these features (all AArch64 have NEON)."""
    triple, _cpu, enabled = context.codegen().magic_tuple()
    if "neon" in features and triple.startswith(("aarch64", "arm64")):
        return True
    enabled = set(enabled.split(","))
    return any(f"+{feature}" in enabled for feature in features)


def _emit_fma(context, builder, a, b, c):
    # Without the instruction llvm.fma is a library call per lane; fmuladd then multiplies and adds.
    name = "llvm.fma" if _can(context, "fma", "neon", "vfp4") else "llvm.fmuladd"
    return _call(builder, name, a.type, (a, b, c))


def _emit_round_even(context, builder, v):
    # Without the instruction llvm.roundeven is a library call per lane; adding 1.5 * 2**23 leaves no
    # bits below one, for |v| < 2**22; larger values and NaN pass through.
    if _can(context, "sse4.1", "avx", "neon"):
        return _call(builder, "llvm.roundeven", v.type, (v,))
    magic, limit = _constant(v.type, 12582912.0), _constant(v.type, 4194304.0)
    rounded = builder.fsub(builder.fadd(v, magic), magic)
    small = builder.fcmp_ordered("<", _call(builder, "llvm.fabs", v.type, (v,)), limit)
    rounded = _call(builder, "llvm.copysign", v.type, (rounded, v))
    return builder.select(small, rounded, v)


def _emit_clamp(context, builder, v, low, high):
    # With bounds that are numbers the two forms agree bit for bit; NEON's instructions keep NaN.
    if _can(context, "neon"):
        v = _call(builder, "llvm.maximum", v.type, (v, low))
        return _call(builder, "llvm.minimum", v.type, (v, high))
    v = builder.select(builder.fcmp_ordered(">", low, v), low, v)
    return builder.select(builder.fcmp_ordered("<", high, v), high, v)


def _emit_store_partial(context, builder, pointer, v, count):
    mask = builder.icmp_signed("<", _lane_numbers(), _splat(builder, builder.trunc(count, _I32), _VI32))
    if _can(context, "avx", "avx512f"):
        fnty = ir.FunctionType(ir.VoidType(), (_VF32, ir.PointerType(), _I32, _VI1))
        function = cgutils.get_or_insert_function(builder.module, fnty, "llvm.masked.store.v16f32.p0")
        builder.call(function, (v, pointer, ir.Constant(_I32, _ALIGN), mask))
        return
    # Elsewhere a masked store becomes sixteen branches: write 8, 4, 2 and 1 lanes as the bits of the count say.
    with builder.if_else(builder.icmp_signed("==", count, ir.Constant(_I64, LANES))) as (whole, part):
        with whole:
            builder.store(v, pointer, align=_ALIGN)
        with part:
            for lanes in (8, 4, 2, 1):
                v, pointer = _store_some(builder, pointer, v, count, lanes)


def _store_some(builder, pointer, v, count, lanes):
    """If the count has this bit, write so many lanes; the vector and pointer for what is left."""
    undefined = ir.Constant(_VF32, ir.Undefined)
    before, bit = builder.block, builder.and_(count, ir.Constant(_I64, lanes))
    with builder.if_then(builder.icmp_signed("!=", bit, ir.Constant(_I64, 0))):
        first = builder.shuffle_vector(v, undefined, ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes))))
        builder.store(first, pointer, align=_ALIGN)
        order = [(lane + lanes) % LANES for lane in range(LANES)]
        rest = builder.shuffle_vector(v, undefined, ir.Constant(_VI32, order))
        beyond = builder.gep(pointer, (ir.Constant(_I64, lanes),), source_etype=_F32)
        inside = builder.block
    values = []
    for old, new in ((v, rest), (pointer, beyond)):
        phi = builder.phi(old.type)
        phi.add_incoming(old, before)
        phi.add_incoming(new, inside)
        values.append(phi)
    return values


@intrinsic
def has_wide_registers(_typingctx):
    """Whether 8 vectors fit the registers with room to spare (AVX-512: 32 of one vector each), known when compiling.

    Elsewhere 4 vectors are 8 or 16 registers: chains enough to hide a latency, and more would spill.
    """

    def generate(context, _builder, _signature, _args):
        return ir.Constant(_I1, int(_can(context, "avx512f")))

    return types.boolean(), generate


# --- pieces of code generation -----------------------------------------------------------------------


def _call(builder, name, ty, args):
    """Call an intrinsic that is overloaded on its one type."""
    suffix = "v16f32" if ty == _VF32 else "f32"
    fnty = ir.FunctionType(ty, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, fnty, f"{name}.{suffix}"), args)


def _constant(ty, value):
    return ir.Constant(ty, [value] * LANES) if isinstance(ty, ir.VectorType) else ir.Constant(ty, value)


def _lane_numbers():
    return ir.Constant(_VI32, list(range(LANES)))


def _splat(builder, scalar, vector):
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(_VI32, [0] * LANES))


def _pointer(builder, address, index, words=1):
    """Pointer to the 32-bit word `index` (`words=2`: 64-bit word) past the address."""
    base = builder.inttoptr(address, ir.PointerType())
    return builder.gep(base, (index,), source_etype=_F32 if words == 1 else _I64)


def _vector_of(context, builder, ty, value):
    """A vector operand: itself, or a scalar in every lane."""
    if ty == f32x16:
        return value
    return _splat(builder, context.cast(builder, value, ty, types.float32), _VF32)


def _is_number(ty):
    return isinstance(ty, (types.Float, types.Integer))


def _is_operand(ty):
    return ty == f32x16 or _is_number(ty)


def _address_args(*types_):
    return all(isinstance(ty, types.Integer) for ty in types_)


# --- memory ------------------------------------------------------------------------------------------------


@intrinsic
def load(_typingctx, address, i):
    """Lanes i .. i+15 as a vector."""
    if not _address_args(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.load(_pointer(builder, *args), typ=_VF32, align=_ALIGN)

    return f32x16(types.int64, types.int64), generate


@intrinsic
def store(_typingctx, address, i, v):
    """Write all 16 lanes."""
    if not (_address_args(address, i) and v == f32x16):
        return None

    def generate(context, builder, _signature, args):
        builder.store(args[2], _pointer(builder, *args[:2]), align=_ALIGN)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16), generate


@intrinsic
def store_partial(_typingctx, address, i, v, n):
    """Write the first n lanes, 0 <= n <= 16, and nothing past them."""
    if not (_address_args(address, i, n) and v == f32x16):
        return None

    def generate(context, builder, _signature, args):
        _emit_store_partial(context, builder, _pointer(builder, *args[:2]), args[2], args[3])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16, types.int64), generate


@intrinsic
def broadcast(_typingctx, address, i):
    """One float of memory in every lane."""
    if not _address_args(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return _splat(builder, builder.load(_pointer(builder, *args), typ=_F32, align=_ALIGN), _VF32)

    return f32x16(types.int64, types.int64), generate


@intrinsic
def load_scalar(_typingctx, address, i):
    """One float32."""
    if not _address_args(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.load(_pointer(builder, *args), typ=_F32, align=_ALIGN)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def store_scalar(_typingctx, address, i, x):
    """Write one float32; x is cast to it."""
    if not (_address_args(address, i) and _is_number(x)):
        return None

    def generate(context, builder, _signature, args):
        builder.store(args[2], _pointer(builder, *args[:2]), align=_ALIGN)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), generate


@intrinsic
def load_int(_typingctx, address, i):
    """One int32 of memory as an int64."""
    if not _address_args(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.sext(builder.load(_pointer(builder, *args), typ=_I32, align=_ALIGN), _I64)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def store_int(_typingctx, address, i, n):
    """Write the low 32 bits of an integer (or of a bool: 0 or 1)."""
    if not (_address_args(address, i) and isinstance(n, (types.Integer, types.Boolean))):
        return None

    def generate(context, builder, _signature, args):
        builder.store(builder.trunc(args[2], _I32), _pointer(builder, *args[:2]), align=_ALIGN)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def read64(_typingctx, address, i):
    """One int64 from a table of int64; here i counts 64-bit words."""
    if not _address_args(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.load(_pointer(builder, *args, words=2), typ=_I64, align=8)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def write64(_typingctx, address, i, n):
    """Write one int64 to a table of int64; here i counts 64-bit words."""
    if not _address_args(address, i, n):
        return None

    def generate(context, builder, _signature, args):
        builder.store(args[2], _pointer(builder, *args[:2], words=2), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def prefetch(_typingctx, address):
    """Ask for the cache line at an address, which may be any number."""
    if not _address_args(address):
        return None

    def generate(context, builder, _signature, args):
        fnty = ir.FunctionType(ir.VoidType(), (ir.PointerType(), _I32, _I32, _I32))
        function = cgutils.get_or_insert_function(builder.module, fnty, "llvm.prefetch.p0")
        flags = [ir.Constant(_I32, value) for value in (0, 3, 1)]  # read, keep in every cache, data
        builder.call(function, (builder.inttoptr(args[0], ir.PointerType()), *flags))
        return context.get_dummy_value()

    return types.void(types.int64), generate


# --- making vectors ------------------------------------------------------------------------------------


@intrinsic
def splat(_typingctx, x):
    """One number, cast to float32, in every lane."""
    if not _is_number(x):
        return None

    def generate(_context, builder, _signature, args):
        return _splat(builder, args[0], _VF32)

    return f32x16(types.float32), generate


@intrinsic
def bits_to_float(_typingctx, n):
    """The float32 whose bits are the low 32 bits of n."""
    if not _address_args(n):
        return None

    def generate(_context, builder, _signature, args):
        return builder.bitcast(builder.trunc(args[0], _I32), _F32)

    return types.float32(types.int64), generate


@intrinsic
def float_to_bits(_typingctx, x):
    """The bits of a float32 as an int64 (sign-extended)."""
    if x != types.float32:
        return None

    def generate(_context, builder, _signature, args):
        return builder.sext(builder.bitcast(args[0], _I32), _I64)

    return types.int64(types.float32), generate


@intrinsic
def first_lanes(_typingctx, n):
    """The mask of the first n lanes."""
    if not _address_args(n):
        return None

    def generate(_context, builder, _signature, args):
        return builder.icmp_signed("<", _lane_numbers(), _splat(builder, builder.trunc(args[0], _I32), _VI32))

    return mask16(types.int64), generate


# --- arithmetic --------------------------------------------------------------------------------------------


def _arithmetic(op, method):
    @type_callable(op)
    def typing(_context):
        def typer(a, b):
            return f32x16 if f32x16 in (a, b) and _is_operand(a) and _is_operand(b) else None

        return typer

    def generate(context, builder, signature, args):
        a, b = (_vector_of(context, builder, ty, value) for ty, value in zip(signature.args, args, strict=True))
        return getattr(builder, method)(a, b)

    lower_builtin(op, f32x16, f32x16)(generate)
    for number in (types.Float, types.Integer):
        lower_builtin(op, f32x16, number)(generate)
        lower_builtin(op, number, f32x16)(generate)


def _comparison(op, symbol):
    @type_callable(op)
    def typing(_context):
        def typer(a, b):
            return mask16 if f32x16 in (a, b) and _is_operand(a) and _is_operand(b) else None

        return typer

    def generate(context, builder, signature, args):
        a, b = (_vector_of(context, builder, ty, value) for ty, value in zip(signature.args, args, strict=True))
        # Only != holds for NaN, as in IEEE 754.
        return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, a, b)

    lower_builtin(op, f32x16, f32x16)(generate)
    for number in (types.Float, types.Integer):
        lower_builtin(op, f32x16, number)(generate)
        lower_builtin(op, number, f32x16)(generate)


def _mask_operator(op, method):
    @type_callable(op)
    def typing(_context):
        def typer(a, b):
            return mask16 if a == b == mask16 else None

        return typer

    lower_builtin(op, mask16, mask16)(lambda _context, builder, _signature, args: getattr(builder, method)(*args))


def _unary(op, ty, emit):
    @type_callable(op)
    def typing(_context):
        def typer(a):
            return ty if a == ty else None

        return typer

    lower_builtin(op, ty)(lambda _context, builder, _signature, args: emit(builder, args[0]))


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
    if not all(map(_is_operand, (a, b, c))):
        return None

    def generate(context, builder, signature, args):
        if result == f32x16:
            args = [_vector_of(context, builder, ty, value) for ty, value in zip(signature.args, args, strict=True)]
        return _emit_fma(context, builder, *args)

    return result(a, b, c), generate


def _by_comparison(name, symbol, doc):
    def function(_typingctx, a, b):
        if not (f32x16 in (a, b) and _is_operand(a) and _is_operand(b)):
            return None

        def generate(context, builder, signature, args):
            first, second = (_vector_of(context, builder, t, v) for t, v in zip(signature.args, args, strict=True))
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
    if not (v == f32x16 and _is_operand(low) and _is_operand(high)):
        return None

    def generate(context, builder, signature, args):
        operands = (_vector_of(context, builder, t, value) for t, value in zip(signature.args, args, strict=True))
        return _emit_clamp(context, builder, *operands)

    return f32x16(v, low, high), generate


@intrinsic
def select(_typingctx, mask, a, b):
    """a where the mask holds, else b, lane by lane."""
    if not (mask == mask16 and _is_operand(a) and _is_operand(b)):
        return None

    def generate(context, builder, signature, args):
        a, b = (_vector_of(context, builder, t, v) for t, v in zip(signature.args[1:], args[1:], strict=True))
        return builder.select(args[0], a, b)

    return f32x16(mask16, a, b), generate


def _one_vector(name, doc, emit):
    def function(_typingctx, v):
        if v != f32x16:
            return None

        def generate(context, builder, _signature, args):
            return emit(context, builder, args[0])

        return f32x16(f32x16), generate

    function.__name__ = name
    function.__doc__ = doc
    return intrinsic(function)


def _emit_pow2(_context, builder, v):
    # The float's low bits hold v + 127 once 1.5 * 2**23 + 127 is added; shifted up they are the exponent.
    biased = builder.bitcast(builder.fadd(v, _constant(_VF32, 12583039.0)), _VI32)
    return builder.bitcast(builder.shl(biased, ir.Constant(_VI32, [23] * LANES)), _VF32)


round_even = _one_vector("round_even", "To the nearest integer, ties to even.", _emit_round_even)
pow2i = _one_vector("pow2i", "2**v for integer-valued v in [-126, 127].", _emit_pow2)
absolute = _one_vector("absolute", "|v|.", lambda _c, b, v: _call(b, "llvm.fabs", _VF32, (v,)))
sqrt = _one_vector(
    "sqrt", "The square root, correctly rounded; NaN below zero.", lambda _c, b, v: _call(b, "llvm.sqrt", _VF32, (v,))
)


@intrinsic
def copysign(_typingctx, magnitude, sign):
    """|magnitude| with the sign bit of `sign`."""
    if not (magnitude == f32x16 and sign == f32x16):
        return None

    def generate(_context, builder, _signature, args):
        return _call(builder, "llvm.copysign", _VF32, args)

    return f32x16(f32x16, f32x16), generate


@intrinsic
def exponent(_typingctx, v):
    """floor(log2 v) of normal positive v, as a float."""
    if v != f32x16:
        return None

    def generate(_context, builder, _signature, args):
        bits = builder.lshr(builder.bitcast(args[0], _VI32), ir.Constant(_VI32, [23] * LANES))
        return builder.sitofp(builder.sub(bits, ir.Constant(_VI32, [127] * LANES)), _VF32)

    return f32x16(f32x16), generate


@intrinsic
def mantissa(_typingctx, v):
    """v / 2**floor(log2 v) of normal positive v: in [1, 2)."""
    if v != f32x16:
        return None

    def generate(_context, builder, _signature, args):
        bits = builder.bitcast(args[0], _VI32)
        fraction = builder.and_(bits, ir.Constant(_VI32, [0x007FFFFF] * LANES))
        return builder.bitcast(builder.or_(fraction, ir.Constant(_VI32, [0x3F800000] * LANES)), _VF32)

    return f32x16(f32x16), generate


# --- across lanes --------------------------------------------------------------------------------------


def _reduction(name, doc, combine):
    def function(_typingctx, v):
        if v != f32x16:
            return None

        def generate(context, builder, _signature, args):
            lanes = args[0]
            undefined = ir.Constant(_VF32, ir.Undefined)
            for half in (8, 4, 2, 1):
                order = [(lane + half) % LANES for lane in range(LANES)]
                lanes = combine(
                    context, builder, lanes, builder.shuffle_vector(lanes, undefined, ir.Constant(_VI32, order))
                )
            return builder.extract_element(lanes, ir.Constant(_I32, 0))

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
    if not (v == f32x16 and _address_args(i)):
        return None

    def generate(_context, builder, _signature, args):
        return builder.extract_element(args[0], builder.trunc(args[1], _I32))

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
