"""Single steps on memory that several threads share: 32-bit words, which all CPUs can. `word` counts words of 64 bits.

All are sequentially consistent: what a thread wrote before is seen by whoever sees the word.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_ORDER = "seq_cst"


def _pointer(builder, address, word):
    return builder.gep(builder.inttoptr(address, ir.PointerType()), (word,), source_etype=_I64)


def _read_and_write(operation):
    def generate(_context, builder, _signature, args):
        pointer, value = _pointer(builder, *args[:2]), builder.trunc(args[2], _I32)
        return builder.zext(builder.atomic_rmw(operation, pointer, value, _ORDER), _I64)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def exchange(_typingctx, address, word, value):
    """Set a word; gives what it held."""
    return _read_and_write("xchg")


@intrinsic
def add(_typingctx, address, word, value):
    """Add to a word; gives what it held."""
    return _read_and_write("add")


@intrinsic
def fetch(_typingctx, address, word):
    """What a word holds, from 0 to 2**32 - 1."""

    def generate(_context, builder, _signature, args):
        return builder.zext(builder.load_atomic(_pointer(builder, *args), _ORDER, 4, typ=_I32), _I64)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def replace(_typingctx, address, word, old, new):
    """Set a word if it holds `old`; gives whether it did."""

    def generate(_context, builder, _signature, args):
        old, new = (builder.trunc(value, _I32) for value in args[2:])
        return builder.extract_value(builder.cmpxchg(_pointer(builder, *args[:2]), old, new, _ORDER), 1)

    return types.boolean(types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def pause(_typingctx):
    """Tell the CPU that this thread waits for another."""

    def generate(context, builder, _signature, _args):
        triple = context.codegen().magic_tuple()[0]
        if triple.startswith("x86_64"):
            name, arguments = "llvm.x86.sse2.pause", ()
        elif triple.startswith(("aarch64", "arm64")):
            name, arguments = "llvm.aarch64.hint", (ir.Constant(_I32, 1),)
        else:
            return context.get_dummy_value()
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def call(_typingctx, address, first, second):
    """Call int64 f(int64, int64) at an address. What takes fewer arguments does not see the others."""

    def generate(_context, builder, _signature, args):
        function = builder.inttoptr(args[0], ir.FunctionType(_I64, (_I64, _I64)).as_pointer())
        return builder.call(function, args[1:])

    return types.int64(types.int64, types.int64, types.int64), generate
