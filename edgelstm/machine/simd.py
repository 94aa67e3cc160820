"""Sixteen float32 lanes as a numba type, over raw addresses.

LLVM splits a 16-lane vector into whatever registers the CPU has (one on AVX-512, two on AVX2, four
on NEON), so there is one source and one weight layout for all machines.

An address is an int64 in bytes; `i` counts 32-bit words from it and may be negative. Nothing here
checks a bound: `program.verify` proves every operand in range first. Any 4-byte alignment will do.

All functions work in jitted code only. Vectors also take `+ - * /`, unary `-`, comparisons (which
give masks) and, on masks, `& | ^ ~`; the other operand may be a Python or numba float.
No operation may be reassociated or contracted: results are the same bits on every CPU with FMA.
"""

from __future__ import annotations

import operator

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_F32 = ir.FloatType()
_VF32, _VI32, _VI1 = (ir.VectorType(element, LANES) for element in (_F32, _I32, _I1))


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


# --- what the target can do --------------------------------------------------------------------------------


def _has(context, *names):
    """Whether the CPU that code is being made for has one of these features."""
    features = set(str(context.codegen()._tm_features).split(","))
    return any(f"+{name}" in features for name in names)


def _is_x86(context):
    return context.codegen().target_data is not None and _triple(context).split("-")[0] in ("x86_64", "i686", "i386")


def _triple(context):
    codegen = context.codegen()
    return str(getattr(codegen, "_llvm_module", None).triple)


def _native_fma(context):
    """Without the instruction `llvm.fma` is a library call per lane."""
    return _has(context, "fma", "fma4", "neon", "fp-armv8", "vfp4")


def _native_round(context):
    """Without the instruction `llvm.roundeven` is a library call per lane."""
    return _has(context, "sse4.1", "avx", "neon", "fp-armv8")


def _native_masked_store(context):
    """Without the instruction a masked store becomes sixteen branches."""
    return _has(context, "avx", "avx512f")
