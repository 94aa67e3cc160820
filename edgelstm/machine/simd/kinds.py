"""The types: sixteen float32, sixteen truths, and what may stand beside a vector as an operand."""

from __future__ import annotations

from numba.core import types
from numba.extending import models, register_model

from edgelstm.machine.simd import emit


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
        super().__init__(manager, kind, emit.VF32)


@register_model(_Mask16)
class _Mask16Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, emit.VI1)


def is_number(ty):
    """Whether a type is one of Python's or NumPy's numbers."""
    return isinstance(ty, (types.Float, types.Integer))


def is_operand(ty):
    """Whether a value of a type can stand beside a vector."""
    return ty == f32x16 or is_number(ty)


def are_integers(*several):
    """Whether types are those of addresses and counts."""
    return all(isinstance(ty, types.Integer) for ty in several)


def vectors(context, builder, several, values):
    """Operands of these types as vectors: a number stands in every lane."""
    return [
        value if ty == f32x16 else emit.splat(builder, context.cast(builder, value, ty, types.float32), emit.VF32)
        for ty, value in zip(several, values, strict=True)
    ]
