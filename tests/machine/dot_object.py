"""One dot product as a function of its own, compiled for any target.

void sums(int32_t sums[16], const int8_t w[], const int8_t x[], int64_t quads);
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir

from edgelstm.machine import dot

LANES = 16


def module(variant: str) -> ir.Module:
    """The function in LLVM's language."""
    built = ir.Module(name=variant)
    i32, i64, pointer = ir.IntType(32), ir.IntType(64), ir.PointerType()
    function = ir.Function(built, ir.FunctionType(ir.VoidType(), (pointer, pointer, pointer, i64)), "sums")
    sums, w, x, quads = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    vector, quad = ir.VectorType(i32, LANES), ir.VectorType(ir.IntType(8), 4 * LANES)
    start, before = builder.load(sums, typ=vector, align=4), builder.block
    loop, end = function.append_basic_block(), function.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    k, total = builder.phi(i64), builder.phi(vector)
    k.add_incoming(ir.Constant(i64, 0), before)
    total.add_incoming(start, before)
    here = builder.gep(w, (builder.mul(k, ir.Constant(i64, LANES)),), source_etype=i32)
    weights = builder.load(here, typ=quad, align=4)
    four = builder.load(builder.gep(x, (k,), source_etype=i32), typ=i32, align=4)
    activations = builder.bitcast(dot._splat(builder, four), quad)
    after = dot._IMPLEMENTATIONS[variant](builder, total, weights, activations)
    later = builder.add(k, ir.Constant(i64, 1))
    k.add_incoming(later, builder.block)
    total.add_incoming(after, builder.block)
    builder.cbranch(builder.icmp_signed("<", later, quads), loop, end)
    builder.position_at_end(end)
    builder.store(after, sums, align=4)
    builder.ret_void()
    return built


def compile_for(variant: str, triple: str, cpu: str, features: str = "") -> tuple[bytes, str]:
    """An object file, and the assembly."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic")
    parsed = llvm.parse_assembly(str(module(variant)))
    parsed.triple, parsed.data_layout = triple, str(target.target_data)
    parsed.verify()
    return target.emit_object(parsed), target.emit_assembly(parsed)
