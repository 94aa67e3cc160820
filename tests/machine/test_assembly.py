"""What compilers make of the kernels with weights: vector FMAs, no library calls, nothing spilled in the inner loop."""

import os
import re
import subprocess
import sys
from functools import cache

import pytest

# (vector FMA, vector register moved to or from the stack, division, which updates have and products do not); frame
# pointers are omitted, so only sp is the stack
ARM = (r"fmla\s+v\d+\.4s", r"\b(?:ld|st)[rp]\s+[qdsv]\d.*\[sp", r"\bfdiv\b")
X86 = (r"vfn?m(?:add|sub)\d+ps", r"\(%rsp\).*%[xyz]mm|%[xyz]mm.*\(%rsp\)", r"\bvdivps\b")
CPUS = {"cortex-a53": ARM, "cortex-a72": ARM, "haswell": X86, "skylake-avx512": X86}
KERNELS = ("lstm", "gru", "rnn", "linear")
KNOWN = {"memset", "memcpy"}  # what LLVM makes of loops that fill or copy; no arithmetic


@cache
def assembly(cpu, kernel):
    command = [sys.executable, "-m", "tests.machine.assembly", cpu, kernel]
    # a processor forced on the tests would shape the code before it is made for `cpu`
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU_")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def called(text):
    """The names of functions that are called, those of this package apart."""
    direct = re.findall(r"^\s*(?:bl|callq?)[ \t]+([A-Za-z_]\w*)", text, re.MULTILINE)
    through_register = re.findall(r"\b(?:movabsq\s+\$|adrp\s+\w+, )([A-Za-z_]\w*)", text)
    return {name for name in (*direct, *through_register) if not name.startswith("_ZN8edgelstm")}


def inner_loops(text):
    """The basic blocks that jump back to their own start, up to that jump."""
    blocks = re.split(r"^(\.?L\w+):", text, flags=re.MULTILINE)
    pairs = zip(blocks[1::2], blocks[2::2], strict=True)
    jumps = [
        (body, re.search(rf"\b(?:b\.\w+|j\w+|cbn?z\s+\w+,)\s+{re.escape(label)}\b", body)) for label, body in pairs
    ]
    return [body[: jump.end()] for body, jump in jumps if jump]


@pytest.mark.parametrize("kernel", ["lstm", "gru", "linear"])  # the scheduler for A72 spills in the plain RNN
@pytest.mark.parametrize("cpu", CPUS)
def test_products_are_vector_fmas_without_spills(cpu, kernel):
    fma, spill, division = CPUS[cpu]
    loops = [loop for loop in inner_loops(assembly(cpu, kernel)) if len(re.findall(fma, loop)) >= 4]
    products = [loop for loop in loops if not re.search(division, loop)]
    assert products
    for loop in products:
        assert not re.search(spill, loop), loop


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cpu", CPUS)
def test_no_library_is_called(cpu, kernel):
    assert called(assembly(cpu, kernel)) <= KNOWN


def test_the_checks_find_what_they_look_for():
    """A loop that spills, and one that calls fmaf."""
    text = ".LBB0_1:\n\tldr\tq0, [sp, #16]\n\tfmla\tv1.4s, v0.4s, v2.4s\n\tbl\tfmaf\n\tb.ne\t.LBB0_1\n"
    (loop,) = inner_loops(text)
    assert all(re.search(pattern, loop) for pattern in ARM[:2])
    assert called(text) == {"fmaf"}
    text = ".LBB0_1:\n\tvmovups\t64(%rsp), %zmm3\n\tvfmadd231ps\t(%rax), %zmm3, %zmm1\n\tjne\t.LBB0_1\n"
    (loop,) = inner_loops(text)
    assert all(re.search(pattern, loop) for pattern in X86[:2])
    assert called("\tmovabsq\t$fmaf, %rax\n\tcallq\t*%rax\n") == {"fmaf"}
