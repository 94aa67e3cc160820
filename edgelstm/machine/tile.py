"""Sums of several rows beside each other: every weight that is loaded serves all of them.

A tile is rows by chains. Each chain of each row is the one that a row alone would be: the bias, then one FMA for each
k of x, then of h, in order; all of a tile stand in registers while k goes on. So the bits do not depend on the rows.

Six rows fill the registers of AVX-512 (24 of 32) with four chains, of AVX2 (12 of 16) and AArch64 (24 of 32) with one:
there a tile goes through k once for each of its chains, or, with two rows, for each two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgelstm.machine.simd import LANES, emit
from edgelstm.machine.simd.emit import ALIGN, F32, I64, VF32
from edgelstm.program.lower.recurrent import TALLEST

_VECTOR = 4 * LANES  # bytes


@dataclass(frozen=True)
class Block:
    """How the weights of 16 units are packed: vectors of biases, then for each k of x and of h some vectors.

    Attributes:
        biases: how many vectors of biases; the first are those of the chains, in order.
        of_x, of_h: for each chain, which vector of one k it takes; None: no products of x, or of h.
    """

    biases: int
    of_x: tuple[int | None, ...]
    of_h: tuple[int | None, ...]

    @property
    def x_step(self) -> int:
        """Bytes of one k of x."""
        return _VECTOR * sum(vector is not None for vector in self.of_x)

    @property
    def h_step(self) -> int:
        """Bytes of one k of h."""
        return _VECTOR * sum(vector is not None for vector in self.of_h)


def _room(context) -> int:
    """How many vectors of sums the registers hold, beside those of weights and of one value of x; 0: not even two."""
    if emit.can(context, "avx512f"):
        return 24
    if emit.can(context, "avx", "neon"):
        return 6
    return 2 if emit.can(context, "sse4.1", "vfp4") else 0


@intrinsic
def tallest(_typingctx):
    """How many rows a tile may have here: TALLEST, 2, or 1 where rows go alone. Known when compiling."""

    def generate(context, _builder, _signature, _args):
        return ir.Constant(I64, {0: 1, 2: 2}.get(_room(context), TALLEST))

    return types.int64(), generate


def tile(block: Block, rows: int, blocks: int = 1):
    """The function that makes the sums of `rows` rows for `blocks` neighbouring blocks of 16 units, in jitted code.

    It takes the addresses and counts

        w, block_bytes, x, x_row, inputs, h, h_row, units, to, to_row, lanes

    and writes for each row, `to_row` bytes apart, the blocks one after another, of each its chains; of the last chain
    only `lanes` lanes.
    """

    @intrinsic
    def sums(_typingctx, w, block_bytes, x, x_row, inputs, h, h_row, units, to, to_row, lanes):
        def generate(context, builder, _signature, args):
            chains = [(n, chain) for n in range(blocks) for chain in range(len(block.of_x))]
            passes = -(-len(chains) * rows // max(_room(context), rows))
            width = -(-len(chains) // passes)
            for first in range(0, len(chains), width):
                _emit(context, builder, block, rows, chains, range(len(chains))[first : first + width], args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), generate

    return sums


def _emit(context, builder, block: Block, rows: int, chains: Sequence[tuple[int, int]], chosen: range, args):
    """One pass over k for the chosen chains."""
    w, block_bytes, x, x_row, inputs, h, h_row, units, to, to_row, lanes = args
    bases = [builder.add(w, builder.mul(block_bytes, ir.Constant(I64, chains[i][0]))) for i in chosen]
    numbers = [chains[i][1] for i in chosen]
    starts = [_load(builder, base, number) for base, number in zip(bases, numbers, strict=True)]
    sums = [list(starts) for _ in range(rows)]
    at: ir.Value = ir.Constant(I64, _VECTOR * block.biases)
    parts = ((block.of_x, block.x_step, x, x_row, inputs), (block.of_h, block.h_step, h, h_row, units))
    for vectors, step, v, v_row, count in parts:
        weights = {
            n: builder.add(builder.add(bases[n], at), ir.Constant(I64, _VECTOR * vectors[number]))
            for n, number in enumerate(numbers)
            if vectors[number] is not None
        }
        if weights:
            _accumulate(context, builder, sums, weights, step, _rows(builder, v, v_row, rows), count)
        at = builder.add(at, builder.mul(count, ir.Constant(I64, step)))
    for start, row in zip(_rows(builder, to, to_row, rows), sums, strict=True):
        for i, value in zip(chosen, row, strict=True):
            pointer = _vector(builder, start, i)
            if i == len(chains) - 1:
                emit.store_partial(context, builder, pointer, value, lanes)
            else:
                builder.store(value, pointer, align=ALIGN)


def _accumulate(context, builder, sums, weights, step, rows, count):
    """Add `count` products to those chains of every row for which there are weights, in place in `sums`."""
    before, loop, after = builder.block, builder.append_basic_block("k"), builder.append_basic_block("sums")
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(I64, 0)), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(I64)
    k.add_incoming(ir.Constant(I64, 0), before)
    phis = [[builder.phi(VF32) for _ in weights] for _ in rows]
    offset = builder.mul(k, ir.Constant(I64, step))
    vectors = [_load(builder, builder.add(weight, offset)) for weight in weights.values()]
    added = []
    for row, held in zip(rows, phis, strict=True):
        v = emit.splat(builder, builder.load(emit.word(builder, row, k), typ=F32, align=ALIGN), VF32)
        added.append([emit.fma(context, builder, w, v, phi) for w, phi in zip(vectors, held, strict=True)])
    following = builder.add(k, ir.Constant(I64, 1))
    back = builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    back.set_metadata("llvm.loop", _never_unrolled(builder.module))
    k.add_incoming(following, loop)
    builder.position_at_end(after)
    for row, held, new in zip(sums, phis, added, strict=True):
        for n, phi, value in zip(weights, held, new, strict=True):
            phi.add_incoming(row[n], before)
            phi.add_incoming(value, loop)
            merged = builder.phi(VF32)
            merged.add_incoming(row[n], before)
            merged.add_incoming(value, loop)
            row[n] = merged


def _never_unrolled(module):
    """What a loop's branch carries so that LLVM leaves the loop as it is: unrolled, its loads would spill the sums."""
    node = module.add_metadata([module.add_metadata(["llvm.loop.unroll.disable"]), str(len(module.metadata))])
    node.operands = (node, node.operands[0])  # LLVM wants the first to be the node itself
    return node


def _rows(builder, first, row_bytes, rows: int):
    """The addresses of rows."""
    found = [first]
    while len(found) < rows:
        found.append(builder.add(found[-1], row_bytes))
    return found


def _vector(builder, address, n: int):
    """Pointer to the n-th vector past an address."""
    return emit.word(builder, address, ir.Constant(I64, LANES * n))


def _load(builder, address, n: int = 0):
    return builder.load(_vector(builder, address, n), typ=VF32, align=ALIGN)
