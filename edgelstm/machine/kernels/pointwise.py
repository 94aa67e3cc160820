"""Pointwise functions: floats sixteen at a time, integers and conversions word by word."""

from __future__ import annotations

import math

import numba
import numpy as np

from edgelstm.machine import vecmath
from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.kernels.activation import activate
from edgelstm.machine.kernels.extremes import greatest, least
from edgelstm.machine.kernels.power import power
from edgelstm.machine.simd import (
    LANES,
    absolute,
    bits_to_float,
    broadcast,
    load,
    load_int,
    load_scalar,
    round_even,
    select,
    splat,
    sqrt,
    store,
    store_int,
    store_partial,
    store_scalar,
)
from edgelstm.program import functions as f
from edgelstm.program.lower.pointwise import BINARY, SELECT, UNARY

_X, _Y, _COUNT = (UNARY.column(name) for name in ("x", "y", "count"))
_FUNCTION, _ALPHA, _BETA = (UNARY.column(name) for name in ("function", "alpha", "beta"))
_B_A, _B_B, _B_Y, _B_FUNCTION = (BINARY.column(name) for name in ("a", "b", "y", "function"))
_B_SIZES, _B_STEP_A, _B_STEP_B = (BINARY.column(name) for name in ("n0", "a0", "b0"))
_S_C, _S_A, _S_B, _S_Y = (SELECT.column(name) for name in ("c", "a", "b", "y"))
_S_SIZES, _S_STEP_C, _S_STEP_A, _S_STEP_B = (SELECT.column(name) for name in ("n0", "c0", "a0", "b0"))

_INTEGER, _ACTIVATIONS = f.INTEGER, f.SOFTPLUS
_EXP, _LOG, _SQRT, _NEG, _ABS, _RECIPROCAL, _ERF = f.EXP, f.LOG, f.SQRT, f.NEG, f.ABS, f.RECIPROCAL, f.ERF
_IDENTITY, _THRESHOLD, _FLOOR, _CEIL = f.IDENTITY, f.THRESHOLDED_RELU_OPERATOR, f.FLOOR, f.CEIL
_NEG_INT, _ABS_INT, _NOT = f.NEG_INT, f.ABS_INT, f.NOT
_FLOAT_TO_INT, _FLOAT_TO_UINT8, _FLOAT_TO_BOOL = f.FLOAT_TO_INT, f.FLOAT_TO_UINT8, f.FLOAT_TO_BOOL
_INT_TO_FLOAT, _INT_TO_UINT8 = f.INT_TO_FLOAT, f.INT_TO_UINT8
_ADD, _SUB, _MUL, _DIV, _POW = f.ADD, f.SUB, f.MUL, f.DIV, f.POW
_MAXIMUM, _MINIMUM, _EQUAL, _LESS = f.MAXIMUM, f.MINIMUM, f.EQUAL, f.LESS
_ADD_INT, _SUB_INT, _MUL_INT, _DIV_INT = f.ADD_INT, f.SUB_INT, f.MUL_INT, f.DIV_INT
_MAXIMUM_INT, _MINIMUM_INT, _EQUAL_INT, _LESS_INT = f.MAXIMUM_INT, f.MINIMUM_INT, f.EQUAL_INT, f.LESS_INT
_GREATER_INT, _AND = f.GREATER_INT, f.AND

_LOWEST, _HIGHEST = -(1 << 31), (1 << 31) - 1


@numba.njit(error_model="numpy", forceinline=True)
def _unary_floats(function, alpha, beta, x):
    if function == _IDENTITY:
        return x
    if function <= _ACTIVATIONS:
        return activate(function, alpha, beta, x)
    if function == _EXP:
        return vecmath.exp(x)
    if function == _LOG:
        return vecmath.log(x)
    if function == _SQRT:
        return sqrt(x)
    if function == _NEG:
        return -x
    if function == _ABS:
        return absolute(x)
    if function == _RECIPROCAL:
        return splat(1.0) / x
    if function == _ERF:
        return vecmath.erf(x)
    if function == _THRESHOLD:
        return select(x <= splat(alpha), 0.0, x)
    nearest = round_even(x)
    if function == _FLOOR:
        return select(nearest > x, nearest - splat(1.0), nearest)
    if function == _CEIL:
        return select(nearest < x, nearest + splat(1.0), nearest)
    return nearest


@numba.njit(error_model="numpy", forceinline=True)
def float_to_int(x, lowest, highest):
    """Toward zero, at most the ends given, NaN 0."""
    if math.isnan(x):
        return 0
    if x >= np.float32(highest):
        return highest
    return max(np.int64(x), lowest) if x > np.float32(lowest) else lowest


@numba.njit(error_model="numpy", forceinline=True)
def _unary_words(function, x, y, i):
    if function == _INT_TO_FLOAT:
        store_scalar(y, i, np.float32(load_int(x, i)))
    elif function == _FLOAT_TO_INT:
        store_int(y, i, float_to_int(load_scalar(x, i), _LOWEST, _HIGHEST))
    elif function == _FLOAT_TO_UINT8:
        store_int(y, i, float_to_int(load_scalar(x, i), 0, 255))
    else:
        word = load_int(x, i)
        if function == _NEG_INT:
            word = -word
        elif function == _ABS_INT:
            word = abs(word)
        elif function == _NOT:
            word = np.int64(word == 0)
        elif function == _FLOAT_TO_BOOL:  # by its bits: a denormal is true although arithmetic takes it for 0
            word = np.int64((word & 0x7FFFFFFF) != 0)
        elif function == _INT_TO_UINT8:
            word &= 255
        else:
            word = np.int64(word != 0)
        store_int(y, i, word)


@numba.njit(error_model="numpy")
def unary(context, row):
    """UNARY: see `program/lower/pointwise.py`."""
    x, y = place(context, row, _X), place(context, row, _Y)
    count, function = field(row, _COUNT), field(row, _FUNCTION)
    if function < _INTEGER:
        alpha, beta = float_field(row, _ALPHA), float_field(row, _BETA)
        for i in range(0, count, LANES):
            v = _unary_floats(function, alpha, beta, load(x, i))
            if count - i >= LANES:
                store(y, i, v)
            else:
                store_partial(y, i, v, count - i)
    else:
        for i in range(count):
            _unary_words(function, x, y, i)


@numba.njit(error_model="numpy", forceinline=True)
def _binary_floats(function, a, b):
    if function == _ADD:
        return a + b
    if function == _SUB:
        return a - b
    if function == _MUL:
        return a * b
    if function == _DIV:
        return a / b
    if function == _MAXIMUM:
        return greatest(a, b)
    if function == _MINIMUM:
        return least(a, b)
    true, false = bits_to_float(1), bits_to_float(0)
    if function == _EQUAL:
        return select(a == b, true, false)
    if function == _LESS:
        return select(a < b, true, false)
    return select(a > b, true, false)


@numba.njit(error_model="numpy", forceinline=True)
def _binary_integers(function, a, b):
    if function == _ADD_INT:
        return a + b
    if function == _SUB_INT:
        return a - b
    if function == _MUL_INT:
        return a * b
    if function == _DIV_INT:
        if b == 0:
            return 0
        quotient = abs(a) // abs(b)
        return -quotient if (a < 0) != (b < 0) else quotient
    if function == _MAXIMUM_INT:
        return max(a, b)
    if function == _MINIMUM_INT:
        return min(a, b)
    if function == _EQUAL_INT:
        return np.int64(a == b)
    if function == _LESS_INT:
        return np.int64(a < b)
    if function == _GREATER_INT:
        return np.int64(a > b)
    if function == _AND:
        return a & b
    return a | b


@numba.njit(error_model="numpy")
def _binary_line(function, a, step_a, b, step_b, y, count):
    """Adjacent results; each operand is adjacent words (step 1) or one word (step 0)."""
    if function == _POW:
        for i in range(count):
            store_scalar(y, i, power(load_scalar(a, i * step_a), load_scalar(b, i * step_b)))
    elif function < _INTEGER:
        for i in range(0, count, LANES):
            left = load(a, i) if step_a else broadcast(a, 0)
            right = load(b, i) if step_b else broadcast(b, 0)
            v = _binary_floats(function, left, right)
            if count - i >= LANES:
                store(y, i, v)
            else:
                store_partial(y, i, v, count - i)
    else:
        for i in range(count):
            store_int(y, i, _binary_integers(function, load_int(a, i * step_a), load_int(b, i * step_b)))


@numba.njit(error_model="numpy")
def binary(context, row):
    """BINARY: see `program/lower/pointwise.py`."""
    a0, b0, y = place(context, row, _B_A), place(context, row, _B_B), place(context, row, _B_Y)
    function, count = field(row, _B_FUNCTION), field(row, _B_SIZES + 5)
    step_a, step_b = field(row, _B_STEP_A + 5), field(row, _B_STEP_B + 5)
    for i0 in range(field(row, _B_SIZES)):
        a1, b1 = a0 + 4 * i0 * field(row, _B_STEP_A), b0 + 4 * i0 * field(row, _B_STEP_B)
        for i1 in range(field(row, _B_SIZES + 1)):
            a2, b2 = a1 + 4 * i1 * field(row, _B_STEP_A + 1), b1 + 4 * i1 * field(row, _B_STEP_B + 1)
            for i2 in range(field(row, _B_SIZES + 2)):
                a3, b3 = a2 + 4 * i2 * field(row, _B_STEP_A + 2), b2 + 4 * i2 * field(row, _B_STEP_B + 2)
                for i3 in range(field(row, _B_SIZES + 3)):
                    a4, b4 = a3 + 4 * i3 * field(row, _B_STEP_A + 3), b3 + 4 * i3 * field(row, _B_STEP_B + 3)
                    for i4 in range(field(row, _B_SIZES + 4)):
                        a5, b5 = a4 + 4 * i4 * field(row, _B_STEP_A + 4), b4 + 4 * i4 * field(row, _B_STEP_B + 4)
                        _binary_line(function, a5, step_a, b5, step_b, y, count)
                        y += 4 * count


@numba.njit(error_model="numpy")
def choose(context, row):
    """SELECT: see `program/lower/pointwise.py`. Words are copied, whatever they hold."""
    c0, y = place(context, row, _S_C), place(context, row, _S_Y)
    a0, b0 = place(context, row, _S_A), place(context, row, _S_B)
    count = field(row, _S_SIZES + 5)
    step_c, step_a, step_b = field(row, _S_STEP_C + 5), field(row, _S_STEP_A + 5), field(row, _S_STEP_B + 5)
    for i0 in range(field(row, _S_SIZES)):
        for i1 in range(field(row, _S_SIZES + 1)):
            for i2 in range(field(row, _S_SIZES + 2)):
                for i3 in range(field(row, _S_SIZES + 3)):
                    for i4 in range(field(row, _S_SIZES + 4)):
                        c = c0 + 4 * _offset(row, _S_STEP_C, i0, i1, i2, i3, i4)
                        a = a0 + 4 * _offset(row, _S_STEP_A, i0, i1, i2, i3, i4)
                        b = b0 + 4 * _offset(row, _S_STEP_B, i0, i1, i2, i3, i4)
                        for i in range(count):
                            word = load_int(a, i * step_a) if load_int(c, i * step_c) else load_int(b, i * step_b)
                            store_int(y, i, word)
                        y += 4 * count


@numba.njit(error_model="numpy", forceinline=True)
def _offset(row, column, i0, i1, i2, i3, i4):
    outer = i0 * field(row, column) + i1 * field(row, column + 1) + i2 * field(row, column + 2)
    return outer + i3 * field(row, column + 3) + i4 * field(row, column + 4)
