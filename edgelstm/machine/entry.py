"""What Python calls: check and copy the input in, run the interpreter, copy the output out.

These know the interpreter only by the address in the context. They set the floating-point mode that
every result is defined in (denormals flushed to zero, rounding to nearest, no traps) and restore the
caller's. `jit.py` compiles them.
"""

from __future__ import annotations

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

from edgelstm.machine import slots
from edgelstm.machine.arrays import ALIGNED, CONTIGUOUS, DATA, DIMENSIONS, DTYPE, FLAGS, RANK, TYPE, WRITEABLE
from edgelstm.machine.atomic import exchange
from edgelstm.machine.simd import (
    absolute,
    any_lane,
    first_lanes,
    load,
    load_int,
    read64,
    store,
    store_int,
    store_partial,
    write64,
)
from edgelstm.program import status

STATUSES = slots.STATUSES

_OK, _BUSY_STATUS, _SIZE, _INVALID, _KIND = status.OK, status.BUSY, status.SIZE, status.INVALID, status.KIND
_INPUT, _INPUT_WORDS, _OUTPUT, _OUTPUT_WORDS = slots.INPUT, slots.INPUT_WORDS, slots.OUTPUT, slots.OUTPUT_WORDS
_FLOATS, _FLOAT_COUNT, _BUSY, _CHECK = slots.FLOATS, slots.FLOAT_COUNT, slots.BUSY, slots.CHECK
_INTERPRETER, _ARRAY_TYPE, _FLOAT32 = slots.INTERPRETER, slots.ARRAY_TYPE, slots.FLOAT32
_ANSWERS, _COUNTED = slots.ANSWERS, slots.COUNTED
_INF = float("inf")

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_X86_MODE = 0x9FC0  # MXCSR: all exceptions masked, nearest, FTZ, DAZ
_ARM_MODE = 1 << 24  # FPCR and FPSCR: no traps, nearest, FZ


class _ArrayObject(types.Type):
    def __init__(self):
        super().__init__(name="array_object")


# Any Python object, seen as the address of a NumPy array's C struct. Unboxing it as numba's array type would
# allocate a record for every argument of every call.
array_object = _ArrayObject()


@register_model(_ArrayObject)
class _ArrayObjectModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _I64)


@unbox(_ArrayObject)
def _unbox_array_object(_type, pointer, c):
    return NativeValue(c.builder.ptrtoint(pointer, _I64))


@intrinsic
def _address_of(_typingctx, array):
    """The address of an array's C struct."""
    if array != array_object:
        return None
    return types.int64(array_object), lambda _context, _builder, _signature, args: args[0]


@numba.njit(forceinline=True)
def _is_floats(context, array, least, most, flags):
    """Whether an object is an array of float32, contiguous, aligned, of a rank in between, and as the flags say."""
    if read64(array, TYPE) != read64(context, _ARRAY_TYPE):
        return False
    rank = load_int(array, RANK)
    right = read64(array, DTYPE) == read64(context, _FLOAT32) and least <= rank <= most
    flags |= CONTIGUOUS | ALIGNED
    return right and (load_int(array, FLAGS) & flags) == flags


@numba.njit(forceinline=True)
def _dimension(array, axis):
    return read64(read64(array, DIMENSIONS), axis)


@intrinsic
def _call_address(_typingctx, address, argument):
    """Call int64 f(int64) at an address."""

    def generate(_context, builder, _signature, args):
        function = builder.inttoptr(args[0], ir.FunctionType(_I64, (_I64,)).as_pointer())
        return builder.call(function, (args[1],))

    return types.int64(types.int64, types.int64), generate


def _declared(builder, name, returns, *arguments):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(returns, arguments), name)


def _is_x86(context):
    return context.codegen().magic_tuple()[0].startswith("x86_64")


def _is_arm64(context):
    return context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64"))


def _is_arm32(context):
    return context.codegen().magic_tuple()[0].startswith("armv")


def _write_mode(context, builder, mode):
    if _is_x86(context):
        slot = cgutils.alloca_once(builder, _I32)
        builder.store(builder.trunc(mode, _I32), slot)
        builder.call(_declared(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), ir.PointerType()), (slot,))
    elif _is_arm64(context):
        builder.call(_declared(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), _I64), (mode,))
    elif _is_arm32(context):
        builder.call(_declared(builder, "llvm.arm.set.fpscr", ir.VoidType(), _I32), (builder.trunc(mode, _I32),))


@intrinsic
def _enter_mode(_typingctx):
    """Set the machine's floating-point mode; gives the caller's. Elsewhere than on x86-64 and ARM none is set."""

    def generate(context, builder, _signature, _args):
        before = ir.Constant(_I64, 0)
        if _is_x86(context):
            slot = cgutils.alloca_once(builder, _I32)
            builder.call(_declared(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), ir.PointerType()), (slot,))
            before = builder.zext(builder.load(slot), _I64)
        elif _is_arm64(context):
            before = builder.call(_declared(builder, "llvm.aarch64.get.fpcr", _I64), ())
        elif _is_arm32(context):
            before = builder.zext(builder.call(_declared(builder, "llvm.arm.get.fpscr", _I32), ()), _I64)
        _write_mode(context, builder, ir.Constant(_I64, _X86_MODE if _is_x86(context) else _ARM_MODE))
        return before

    return types.int64(), generate


@intrinsic
def _leave_mode(_typingctx, mode):
    """Restore the caller's floating-point mode."""

    def generate(context, builder, _signature, args):
        _write_mode(context, builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@numba.njit(forceinline=True)
def _finite(address, words):
    """Whether all words are finite; reads up to 15 words further on."""
    bad = first_lanes(0)
    for i in range(0, words, 16):
        bad |= ~(absolute(load(address, i)) < _INF) & first_lanes(words - i)
    return not any_lane(bad)


@numba.njit(forceinline=True)
def _copy(source, to, words):
    """Copy words; reads up to 15 words further on, writes exactly."""
    for i in range(0, words - 15, 16):
        store(to, i, load(source, i))
    rest = words & 15
    if rest:
        store_partial(to, words - rest, load(source, words - rest), rest)


@numba.njit(forceinline=True)
def _copy_in(source, to, words):
    """Copy words; reads and writes exactly."""
    whole = words & -16
    for i in range(0, whole, 16):
        store(to, i, load(source, i))
    for i in range(whole, words):
        store_int(to, i, load_int(source, i))


@numba.njit(forceinline=True)
def _interpret(context):
    return _call_address(read64(context, _INTERPRETER), context)


@numba.njit(forceinline=True)
def _advance(context, x, y):
    """One step between arrays at two addresses."""
    staged, words = read64(context, _INPUT), read64(context, _INPUT_WORDS)
    _copy_in(x, staged, words)
    if read64(context, _CHECK) and not _finite(staged, words):
        return _INVALID
    answer = _interpret(context)
    if answer == _OK:
        _copy(read64(context, _OUTPUT), y, read64(context, _OUTPUT_WORDS))
    return answer


@numba.njit(forceinline=True)
def _staged_finite(context):
    table = read64(context, _FLOATS)
    for i in range(read64(context, _FLOAT_COUNT)):  # noqa: SIM110 - numba has no all()
        if not _finite(read64(table, 2 * i), read64(table, 2 * i + 1)):
            return False
    return True


@numba.njit(forceinline=True)
def _step_objects(context, x, y):
    if not (_is_floats(context, x, 1, 1, 0) and _is_floats(context, y, 0, 1, WRITEABLE)):
        return _KIND
    outputs = _dimension(y, 0) if load_int(y, RANK) == 1 else 1
    if _dimension(x, 0) != read64(context, _INPUT_WORDS) or outputs != read64(context, _OUTPUT_WORDS):
        return _SIZE
    if exchange(context, _BUSY, 1):
        return _BUSY_STATUS
    mode = _enter_mode()
    answer = _advance(context, read64(x, DATA), read64(y, DATA))
    _leave_mode(mode)
    write64(context, _BUSY, 0)
    return answer


@numba.njit(forceinline=True)
def step(context, x, y):
    """Copy x (input words) in, run once, copy the output into y (output words). Answers a status.

    KIND where x or y is not a float32 array of one dimension, contiguous, y writable; y may be a number's array
    without dimensions.
    """
    return _step_objects(context, _address_of(x), _address_of(y))


@numba.njit(forceinline=True)
def call_step(array, args, count):
    """`step` as CPython calls a built-in function (METH_FASTCALL): self is the array of the context.

    Answers the address of a Python integer, the status; a new reference.
    """
    context = read64(array, DATA)
    answer = _KIND
    if count == 2:
        answer = _step_objects(context, read64(args, 0), read64(args, 1))
    number = read64(read64(context, _ANSWERS), answer)
    if read64(context, _COUNTED):
        write64(number, 0, read64(number, 0) + 1)
    return number


@numba.njit(forceinline=True)
def run_at(context, x, y, rows):
    """Row by row as `step`, between two addresses. Answers steps done * STATUSES + status."""
    inputs, outputs = read64(context, _INPUT_WORDS), read64(context, _OUTPUT_WORDS)
    if exchange(context, _BUSY, 1):
        return _BUSY_STATUS
    mode = _enter_mode()
    answer, done = _OK, 0
    while done < rows:
        answer = _advance(context, x + 4 * inputs * done, y + 4 * outputs * done)
        if answer != _OK:
            break
        done += 1
    _leave_mode(mode)
    write64(context, _BUSY, 0)
    return done * STATUSES + answer


@numba.njit(forceinline=True)
def run(context, xs, ys):
    """Row by row as `step`: xs (T, input words), ys (T, output words). Answers steps done * STATUSES + status."""
    xs, ys = _address_of(xs), _address_of(ys)
    if not (_is_floats(context, xs, 2, 2, 0) and _is_floats(context, ys, 2, 2, WRITEABLE)):
        return _KIND
    inputs, outputs = read64(context, _INPUT_WORDS), read64(context, _OUTPUT_WORDS)
    rows = _dimension(xs, 0)
    if _dimension(ys, 0) != rows or _dimension(xs, 1) != inputs or _dimension(ys, 1) != outputs:
        return _SIZE
    return run_at(context, read64(xs, DATA), read64(ys, DATA), rows)


@numba.njit(forceinline=True)
def execute(context, check):
    """Run once on what stands in scratch; `check` 1: refuse inputs that are not finite. Answers a status."""
    if exchange(context, _BUSY, 1):
        return _BUSY_STATUS
    mode = _enter_mode()
    answer = _INVALID
    if check == 0 or _staged_finite(context):
        answer = _interpret(context)
    _leave_mode(mode)
    write64(context, _BUSY, 0)
    return answer
