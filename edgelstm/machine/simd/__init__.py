"""Sixteen float32 lanes as a numba type, over raw addresses.

LLVM splits a 16-lane vector into whatever registers the CPU has (one on AVX-512, two on AVX2, four
on NEON), so there is one source and one weight layout for all machines.

An address is an int64 in bytes; `i` counts 32-bit words from it and may be negative. Nothing here
checks a bound: `program.verify` proves every operand in range first. Any 4-byte alignment will do.

All functions work in jitted code only. Vectors also take `+ - * /`, unary `-` and comparisons (which
give masks); the other operand may be a float. Masks take `& | ^` and `~`.
Nothing may be reassociated or contracted: results are the same bits on every CPU with FMA.
"""

from edgelstm.machine.simd.arithmetic import (
    absolute,
    clamp,
    copysign,
    exponent,
    exponent_from_low_bits,
    fma,
    mantissa,
    maximum,
    minimum,
    round_even,
    select,
    sqrt,
)
from edgelstm.machine.simd.kinds import f32x16, mask16
from edgelstm.machine.simd.lanes import (
    any_lane,
    bits_to_float,
    first_lanes,
    float_to_bits,
    has_wide_registers,
    lane,
    max_lanes,
    min_lanes,
    splat,
    sum_lanes,
)
from edgelstm.machine.simd.memory import (
    broadcast,
    load,
    load_int,
    load_scalar,
    prefetch,
    read64,
    store,
    store_int,
    store_partial,
    store_scalar,
    write64,
)
from edgelstm.program.opcodes import LANES

__all__ = [
    "LANES",
    "absolute",
    "any_lane",
    "bits_to_float",
    "broadcast",
    "clamp",
    "copysign",
    "exponent",
    "exponent_from_low_bits",
    "f32x16",
    "first_lanes",
    "float_to_bits",
    "fma",
    "has_wide_registers",
    "lane",
    "load",
    "load_int",
    "load_scalar",
    "mantissa",
    "mask16",
    "max_lanes",
    "maximum",
    "min_lanes",
    "minimum",
    "prefetch",
    "read64",
    "round_even",
    "select",
    "splat",
    "sqrt",
    "store",
    "store_int",
    "store_partial",
    "store_scalar",
    "sum_lanes",
    "write64",
]
