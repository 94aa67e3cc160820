"""Sums of products of 8-bit integers, sixteen at a time: one name, one implementation per instruction set.

`dot(sums, w, i, x)` adds to each of 16 int32 lanes the four products of that lane's four weights (int8) with four
activations (int8 within ±127, the same for every lane). Sums are exact integers, so every implementation gives the
same bits. Weights may be any int8: the greatest sum of two products is 2 · 128 · 127 = 32512, which fits 16 bits.

| name | where | how |
|---|---|---|
| vnni512 | x86 with AVX-512 VNNI | `vpdpbusd` on whole vectors |
| vnni256 | x86 with AVX-VNNI | `vpdpbusd` on halves |
| avx2 | x86 with AVX2 | `vpsignb` moves the weight's sign to the activation, then `vpmaddubsw` and `vpmaddwd` |
| ssse3 | x86 with SSSE3 | the same on quarters |
| sdot | AArch64 with the dot product (Cortex-A55, A75, A76 and later) | `sdot` |
| neon | AArch64 | `smull`, pairwise `addp` in 16 bits, pairwise `sadalp` into 32 |
| portable | everywhere | widen, multiply, add |

`vpdpbusd` takes unsigned activations: there they are stored 128 higher, and sums start at -128 times the sum of a
lane's weights, which stands beside the weights in every layout. That also makes room for a zero point: see `dot_start`.

The choice follows the features of the CPU that code is made for; the environment variable EDGELSTM_DOT forces a
name, for tests. It is read when code is made and is part of the key of compiled code.
"""

from __future__ import annotations

import os

from llvmlite import ir
from llvmlite.binding import llvm_version_info
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from edgelstm.errors import InputError
from edgelstm.machine.simd import LANES, f32x16

FORCED = "EDGELSTM_DOT"
OFFSET = ("vnni512", "vnni256")  # those that take activations 128 higher
VARIANTS = ("vnni512", "vnni256", "avx2", "ssse3", "sdot", "neon", "portable")

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_VF32, _VI32 = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(_I32, LANES)
_BYTES = ir.VectorType(_I8, 4 * LANES)
_ALIGN = 4


class _Int32x16(types.Type):
    def __init__(self):
        super().__init__(name="i32x16")


i32x16 = _Int32x16()


@register_model(_Int32x16)
class _Int32x16Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VI32)


def forced() -> str:
    """The forced variant, "" where none is.

    Raises:
        InputError: EDGELSTM_DOT names none.
    """
    name = os.environ.get(FORCED, "")
    if name and name not in VARIANTS:
        raise InputError(f"{FORCED} is {name!r}; expected one of {', '.join(VARIANTS)}")
    return name


def variants(triple: str, features: str) -> list[str]:
    """What a target can run, the fastest first.

    Args:
        triple: LLVM's, such as "x86_64-unknown-linux-gnu".
        features: LLVM's, such as "+avx2,+avxvnni,-avx512f".
    """
    enabled = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    found = []
    if triple.startswith(("x86_64", "i386", "i686")):
        needs = {
            "vnni512": {"avx512f", "avx512bw", "avx512vnni"},
            "avx2": {"avx2"},
            "ssse3": {"ssse3"},
        }
        vnni256 = {"avxvnni"} <= enabled or {"avx512vnni", "avx512vl"} <= enabled
        found = [name for name, wanted in needs.items() if wanted <= enabled]
        if vnni256:
            found.insert(1 if "vnni512" in found else 0, "vnni256")
    elif triple.startswith(("aarch64", "arm64")):
        found = ["sdot", "neon"] if "dotprod" in enabled else ["neon"]
    return [*found, "portable"]


def chosen() -> str:
    """The variant that this process compiles for."""
    from numba.core.registry import cpu_target

    return choice(cpu_target.target_context)


def choice(context) -> str:
    """The variant that a numba target compiles for."""
    triple, _cpu, features = context.codegen().magic_tuple()
    return forced() or variants(triple, features)[0]


# --- the implementations: (builder, sums <16 x i32>, weights <64 x i8>, activations <64 x i8>) -> sums -------------


def _call(builder, name, result, *args):
    fnty = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, fnty, name), args)


def _part(builder, v, lanes, index):
    """Lanes index * lanes and the following, `lanes` of them."""
    undefined = ir.Constant(v.type, ir.Undefined)
    chosen = list(range(index * lanes, (index + 1) * lanes))
    return builder.shuffle_vector(v, undefined, ir.Constant(ir.VectorType(_I32, lanes), chosen))


def _joined(builder, parts):
    while len(parts) > 1:
        lanes = 2 * parts[0].type.count
        order = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
        parts = [builder.shuffle_vector(a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _in_parts(count, one):
    """An implementation that works on a vector's parts, one after another."""

    def whole(builder, sums, w, x):
        lanes = LANES // count
        return _joined(
            builder,
            [
                one(
                    builder,
                    _part(builder, sums, lanes, n),
                    _part(builder, w, 4 * lanes, n),
                    _part(builder, x, 4 * lanes, n),
                )
                for n in range(count)
            ],
        )

    return whole


def _vnni(bits):
    def emit(builder, sums, w, x):
        if llvm_version_info[0] < 22:  # the intrinsic took its bytes four to a lane
            w, x = builder.bitcast(w, sums.type), builder.bitcast(x, sums.type)
        return _call(builder, f"llvm.x86.avx512.vpdpbusd.{bits}", sums.type, sums, x, w)

    return emit


def _sign(prefix, suffix):
    """The product of two signed bytes as |w| times x with the sign of w, in pairs, then in fours."""

    def emit(builder, sums, w, x):
        halves, quarters = ir.VectorType(_I16, w.type.count // 2), sums.type
        zero = ir.Constant(w.type, [0] * w.type.count)
        magnitude = builder.select(builder.icmp_signed("<", w, zero), builder.sub(zero, w), w)
        signed = _call(builder, f"llvm.x86.{prefix}.psign.b{suffix}", x.type, x, w)
        pairs = _call(builder, f"llvm.x86.{prefix}.pmadd.ub.sw{suffix}", halves, magnitude, signed)
        ones = ir.Constant(halves, [1] * halves.count)
        name = "llvm.x86.avx2.pmadd.wd" if prefix == "avx2" else "llvm.x86.sse2.pmadd.wd"
        return builder.add(sums, _call(builder, name, quarters, pairs, ones))

    return emit


def _sdot(builder, sums, w, x):
    return _call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", sums.type, sums, w, x)


def _neon(builder, sums, w, x):
    eight = ir.VectorType(_I16, 8)
    low, high = (
        _call(builder, "llvm.aarch64.neon.smull.v8i16", eight, _part(builder, w, 8, n), _part(builder, x, 8, n))
        for n in range(2)
    )
    pairs = _call(builder, "llvm.aarch64.neon.addp.v8i16", eight, low, high)
    return builder.add(sums, _call(builder, "llvm.aarch64.neon.saddlp.v4i32.v8i16", sums.type, pairs))


def _portable(builder, sums, w, x):
    """Each of the four bytes of a lane, shifted to the top and back for its sign."""
    w, x = builder.bitcast(w, _VI32), builder.bitcast(x, _VI32)
    for byte in range(4):
        sums = builder.add(sums, builder.mul(_byte(builder, w, byte), _byte(builder, x, byte)))
    return sums


def _byte(builder, v, byte):
    """Byte 0 to 3 of every lane as int32."""
    up, down = (ir.Constant(_VI32, [bits] * LANES) for bits in (24 - 8 * byte, 24))
    return builder.ashr(builder.shl(v, up), down)


_IMPLEMENTATIONS = {
    "vnni512": _vnni(512),
    "vnni256": _in_parts(2, _vnni(256)),
    "avx2": _in_parts(2, _sign("avx2", "")),
    "ssse3": _in_parts(4, _sign("ssse3", ".128")),
    "sdot": _in_parts(4, _sdot),
    "neon": _in_parts(4, _neon),
    "portable": _portable,
}


# --- what kernels use -------------------------------------------------------------------------------------


def multiply(context, builder, sums, w, x):
    """Emit the implementation chosen: sums <16 x i32> plus the products of w <64 x i8> with x <16 x i32>."""
    return _IMPLEMENTATIONS[choice(context)](builder, sums, w, builder.bitcast(x, _BYTES))


def start(context, builder, lost, zero):
    """Emit the sums at their start, see `dot_start`; `zero` is an i32."""
    offset = ir.Constant(_I32, 128 if choice(context) in OFFSET else 0)
    return builder.mul(lost, _splat(builder, builder.add(zero, offset)))


def _integers(*kinds):
    return all(isinstance(kind, types.Integer) for kind in kinds)


def _word(builder, address, index):
    return builder.gep(builder.inttoptr(address, ir.PointerType()), (index,), source_etype=_I32)


def _splat(builder, scalar):
    first = builder.insert_element(ir.Constant(_VI32, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, ir.Constant(_VI32, ir.Undefined), ir.Constant(_VI32, [0] * LANES))


@intrinsic
def quad(_typingctx, address, i):
    """Four activations, the bytes of word i, for every lane."""
    if not _integers(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return _splat(builder, builder.load(_word(builder, *args), typ=_I32, align=_ALIGN))

    return i32x16(types.int64, types.int64), generate


@intrinsic
def dot_start(_typingctx, address, i, zero):
    """Where sums start, so that they are those of activations less `zero`.

    Words i .. i+15 hold each lane's -(sum of weights); it is taken `zero` times, and 128 times more where activations
    are stored 128 higher.
    """
    if not _integers(address, i, zero):
        return None

    def generate(context, builder, _signature, args):
        lost = builder.load(_word(builder, *args[:2]), typ=_VI32, align=_ALIGN)
        return start(context, builder, lost, builder.trunc(args[2], _I32))

    return i32x16(types.int64, types.int64, types.int64), generate


@intrinsic
def dot(_typingctx, sums, address, i, x):
    """Sums plus the products of the 64 weights in words i .. i+15 with the activations x."""
    if not (sums == i32x16 and _integers(address, i) and x == i32x16):
        return None

    def generate(context, builder, _signature, args):
        w = builder.load(_word(builder, args[1], args[2]), typ=_BYTES, align=_ALIGN)
        return multiply(context, builder, args[0], w, args[3])

    return i32x16(i32x16, types.int64, types.int64, i32x16), generate


@intrinsic
def to_float(_typingctx, sums):
    """Integers as float32, rounded to nearest."""
    if sums != i32x16:
        return None

    def generate(_context, builder, _signature, args):
        return builder.sitofp(args[0], _VF32)

    return f32x16(i32x16), generate


@intrinsic
def weights(_typingctx, address, i):
    """The 64 weights of words i .. i+15, four a lane."""
    if not _integers(address, i):
        return None

    def generate(_context, builder, _signature, args):
        return builder.load(_word(builder, *args), typ=_VI32, align=_ALIGN)

    return i32x16(types.int64, types.int64), generate


def _widen(byte):
    def widen(_typingctx, w):
        if w != i32x16:
            return None

        def generate(_context, builder, _signature, args):
            return builder.sitofp(_byte(builder, args[0], byte), _VF32)

        return f32x16(i32x16), generate

    widen.__name__, widen.__doc__ = f"widen{byte}", f"Byte {byte} of every lane, an int8, as float32."
    return intrinsic(widen)


widen0, widen1, widen2, widen3 = (_widen(byte) for byte in range(4))


@intrinsic
def store_bytes(_typingctx, address, k, v):
    """Write 16 integer-valued floats within ±127 as the activations k .. k+15, bytes from `address` on."""
    if not (_integers(address, k) and v == f32x16):
        return None

    def generate(context, builder, _signature, args):
        narrow = builder.trunc(builder.fptosi(args[2], _VI32), ir.VectorType(_I8, LANES))
        if choice(context) in OFFSET:
            narrow = builder.xor(narrow, ir.Constant(narrow.type, [-128] * LANES))
        pointer = builder.gep(builder.inttoptr(args[0], ir.PointerType()), (args[1],), source_etype=_I8)
        builder.store(narrow, pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16), generate
