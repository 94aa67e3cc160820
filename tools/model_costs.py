"""Models the rows of the int8 cost table for cores that are not at hand: `python tools/model_costs.py [--write]`.

The inner loops of the float product, of the int8 product and of quantizing activations are compiled for each core, and
llvm-mca gives their cycles. It knows no caches, so the rates of memory stay as the table has them. What a product takes
besides its loops is taken over in cycles from the row that was measured.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgelstm.machine import dot  # noqa: E402
from tools import mca  # noqa: E402

TABLE = ROOT / "edgelstm" / "quantization" / "costs.json"
LANES, VECTORS = 16, 4
MEASURED, MEASURED_GHZ = "x86-vnni", 4.1  # the row that fixed costs are taken from, and its clock
ITERATIONS = 200

F32, I8, I32, I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
FLOATS, INTEGERS, BYTES = (ir.VectorType(kind, count) for kind, count in ((F32, LANES), (I32, LANES), (I8, 4 * LANES)))


@dataclass(frozen=True)
class Core:
    """A row of the table: which processor, its pipeline for `tools.mca`, its dot product and its clock."""

    row: str
    triple: str
    cpu: str
    pipeline: str
    variant: str
    ghz: float


CORES = (
    Core("x86-avx2", "x86_64-unknown-linux-gnu", "haswell", "haswell", "avx2", 3.0),
    Core("pi5", mca.ARM, "cortex-a76", mca.CORES["A76"], "sdot", 2.4),
    Core("pi4", mca.ARM, "cortex-a72", "cortex-a72", "neon", 1.8),
    Core("pi3", mca.ARM, "cortex-a53", "cortex-a53", "neon", 1.2),
)


Body = Callable[[Any, Any, Any, Any, list[Any]], list[Any]]  # builder, a, b, k, vectors -> the vectors renewed


def loop(name: str, body: Body, start: Any) -> Any:
    """void name(ptr a, ptr b, ptr sums, i64 count): a loop over k whose vectors `body` renews, in LLVM's language."""
    module, pointer = ir.Module(name=name), ir.PointerType()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), (pointer, pointer, pointer, I64)), name)
    a, b, sums, count = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    vectors = [builder.load(at(builder, sums, n, start), typ=start, align=4) for n in range(VECTORS)]
    before, inside, end = builder.block, function.append_basic_block(), function.append_basic_block()
    builder.branch(inside)
    builder.position_at_end(inside)
    k = builder.phi(I64)
    phis = [builder.phi(start) for _ in vectors]
    after = body(builder, a, b, k, phis)
    later = builder.add(k, ir.Constant(I64, 1))
    for phi, first, last in zip((k, *phis), (ir.Constant(I64, 0), *vectors), (later, *after), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, builder.block)
    builder.cbranch(builder.icmp_signed("<", later, count), inside, end)
    builder.position_at_end(end)
    for n, vector in enumerate(after):
        builder.store(vector, at(builder, sums, n, start), align=4)
    builder.ret_void()
    return module


def at(builder: Any, base: Any, index: Any, kind: Any) -> Any:
    """The address of vector `index`."""
    index = ir.Constant(I64, index) if isinstance(index, int) else index
    return builder.gep(base, (index,), source_etype=kind)


def splat(builder: Any, scalar: Any, kind: Any) -> Any:
    """The scalar in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(INTEGERS, [0] * LANES))


def call(builder: Any, name: str, *args: Any) -> Any:
    """An intrinsic on float vectors."""
    module = builder.module
    kind = ir.FunctionType(FLOATS, [FLOATS] * len(args))
    function = module.globals.get(name) or ir.Function(module, kind, name)
    return builder.call(function, args)


def float_product(builder: Any, a: Any, b: Any, k: Any, sums: list[Any]) -> list[Any]:
    """One activation with four vectors of weights."""
    x = splat(builder, builder.load(builder.gep(b, (k,), source_etype=F32), typ=F32, align=4), FLOATS)
    first = builder.mul(k, ir.Constant(I64, VECTORS))
    found = []
    for n, total in enumerate(sums):
        w = builder.load(at(builder, a, builder.add(first, ir.Constant(I64, n)), FLOATS), typ=FLOATS, align=4)
        found.append(call(builder, "llvm.fma.v16f32", w, x, total))
    return found


def int8_product(variant: str) -> Body:
    """Four activations with four vectors of weights."""

    def body(builder: Any, a: Any, b: Any, k: Any, sums: list[Any]) -> list[Any]:
        quad = builder.load(builder.gep(b, (k,), source_etype=I32), typ=I32, align=4)
        x = builder.bitcast(splat(builder, quad, INTEGERS), BYTES)
        first = builder.mul(k, ir.Constant(I64, VECTORS))
        found = []
        for n, total in enumerate(sums):
            place = at(builder, a, builder.add(first, ir.Constant(I64, n)), BYTES)
            w = builder.load(place, typ=BYTES, align=4)
            found.append(dot._IMPLEMENTATIONS[variant](builder, total, w, x))
        return found

    return body


def quantizing(builder: Any, a: Any, b: Any, k: Any, kept: list[Any]) -> list[Any]:
    """16 activations: their range, then their integers."""
    x = builder.load(at(builder, a, k, FLOATS), typ=FLOATS, align=4)
    high, low, inverse, shift = kept
    high = builder.select(builder.fcmp_ordered(">", x, high), x, high)
    low = builder.select(builder.fcmp_ordered("<", x, low), x, low)
    level = builder.fadd(call(builder, "llvm.roundeven.v16f32", builder.fmul(x, inverse)), shift)
    for limit, sign in ((-127.0, ">"), (127.0, "<")):
        edge = ir.Constant(FLOATS, [limit] * LANES)
        level = builder.select(builder.fcmp_ordered(sign, level, edge), level, edge)
    narrow = builder.trunc(builder.fptosi(level, INTEGERS), ir.VectorType(I8, LANES))
    builder.store(narrow, at(builder, b, k, narrow.type), align=1)
    return [high, low, inverse, shift]


def cycles(core: Core, module: Any) -> float:
    """Cycles of one round of a module's loop."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(core.triple).create_target_machine(cpu=core.cpu, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.triple, parsed.data_layout = core.triple, str(machine.target_data)
    text = machine.emit_assembly(parsed)
    blocks = re.split(r"^(\.?L\w+):", text, flags=re.MULTILINE)
    (body,) = (
        body
        for label, body in zip(blocks[1::2], blocks[2::2], strict=True)
        if re.search(rf"\b(?:b\.\w+|j\w+)\s+{re.escape(label)}\b", body)
    )
    lines = []
    for line in body.splitlines():
        if re.match(r"\s+[a-z]", line):
            lines.append(line)
        if re.search(r"\b(?:b\.\w+|j\w+)\s+\.?L", line):
            break
    return mca.cycles(lines, core.pipeline, triple=core.triple, repeats=ITERATIONS) / ITERATIONS


def row(core: Core, known: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """The table's row of a core; nanoseconds."""
    each = {
        "float_each": cycles(core, loop("product", float_product, FLOATS)) / VECTORS,
        "int8_each": cycles(core, loop("product", int8_product(core.variant), INTEGERS)) / VECTORS,
        "quantize_each": cycles(core, loop("quantize", quantizing, FLOATS)),
    }
    fixed = {name: measured[name] * MEASURED_GHZ for name in ("float_fixed", "int8_fixed")}
    times = {name: round(value / core.ghz, 3) for name, value in (each | fixed).items()}
    return {
        "source": f"modelled: llvm-mca, {core.pipeline}, {core.ghz} GHz",
        **{name: times[name] for name in known if name in times},
        "memory": known["memory"],
    }


def main() -> None:
    """Print the rows, or put them into the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the rows into the table")
    table = json.loads(TABLE.read_text("utf-8"))
    rows = table["targets"]
    for core in CORES:
        rows[core.row] = row(core, rows[core.row], rows[MEASURED])
    lines = [f"    {json.dumps(name)}: {json.dumps(values)}" for name, values in rows.items()]
    text = '{\n  "about": ' + json.dumps(table["about"]) + ',\n  "targets": {\n' + ",\n".join(lines) + "\n  }\n}\n"
    if parser.parse_args().write:
        TABLE.write_text(text, "utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
