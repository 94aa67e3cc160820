"""Whole int8 kernels of the machine compiled ahead of time, on emulated ARM cores and on x86: the same bits as here."""

import subprocess

import numpy as np
import pytest

from edgelstm.machine import slots
from edgelstm.machine.ahead import object_code
from edgelstm.machine.executor import Machine
from edgelstm.machine.targets import find
from edgelstm.program.lowering import lower
from edgelstm.program.opcodes import ROW
from edgelstm.program.status import OK
from tests.machine.kernels.harness import words
from tests.machine.kernels.int8_cases import KINDS, every
from tests.support import require_module, require_program

MAIN = f"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
int64_t edgelstm_machine_execute(int64_t, int64_t);
int64_t edgelstm_machine_interpret(int64_t);
static void *part(int64_t bytes) {{
    void *at = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (at == NULL || fread(at, 1, bytes, stdin) != (size_t)bytes) exit(1);
    return at;
}}
int main(void) {{
    int64_t sizes[4];
    while (fread(sizes, 8, 4, stdin) == 4) {{
        int64_t context[{slots.SLOTS}] = {{0}};
        context[{slots.CODE}] = (int64_t)part(sizes[0] * {8 * ROW});
        context[{slots.ROWS}] = sizes[0];
        context[{slots.INTERPRETER}] = (int64_t)edgelstm_machine_interpret;
        for (int k = 0; k < 3; k++) context[{slots.BASE} + k] = (int64_t)part(sizes[1 + k] * 4);
        context[{slots.BASE + 3}] = {slots.ABSENT_BASE};
        if (edgelstm_machine_execute((int64_t)context, 0) != 0) return 2;
        fwrite((void *)context[{slots.BASE + 2}], 4, sizes[3], stdout);
    }}
    return 0;
}}
"""


@pytest.fixture(scope="module")
def cases():
    """Programs with their inputs, and the outputs of this machine."""
    found = []
    for seed, kind in enumerate(KINDS):
        for name, (graph, feeds) in every(seed, kind, moments=20).items():
            program = lower(graph)
            machine = Machine(program)
            for port, value in feeds.items():
                machine.arenas.inputs[port][...] = value
            assert machine.execute(False) == OK
            want = {port: value.copy() for port, value in machine.arenas.outputs.items()}
            found.append((f"{kind}, {name}", program, feeds, want))
    return found


def agree(folder, target, cases, compiler, *emulator):
    """Run all cases on a target's machine and compare bits."""
    require_module("numba")
    (folder / "machine.o").write_bytes(object_code(find(target)))
    (folder / "main.c").write_text(MAIN)
    command = [compiler, "-static", "-O1", "-o", folder / "run", folder / "main.c", folder / "machine.o", "-lm"]
    subprocess.run(command, check=True)
    given = bytearray()
    for _, program, feeds, _ in cases:
        scratch = np.zeros(program.scratch_words, np.float32)
        for port in program.inputs:
            scratch[port.start : port.start + port.words] = words(feeds[port.name])
        arenas = [program.weights, program.initial_state, scratch]
        given += np.array([len(program.code), *(arena.size for arena in arenas)], np.int64).tobytes()
        given += b"".join(part.tobytes() for part in (np.ascontiguousarray(program.code, np.int64), *arenas))
    done = subprocess.run([*emulator, folder / "run"], input=bytes(given), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    answers, at = np.frombuffer(done.stdout, np.float32), 0
    for name, program, _, want in cases:
        scratch = answers[at : at + program.scratch_words]
        at += program.scratch_words
        for port in program.outputs:
            got = scratch[port.start : port.start + port.words].view(np.int32)
            np.testing.assert_array_equal(got, words(want[port.name]).view(np.int32), err_msg=f"{name}, {port.name}")
    assert at == answers.size


@pytest.mark.parametrize(
    ("target", "core"),
    [
        ("pi4", "cortex-a72"),  # a core that stops at instructions it does not have, the dot product among them
        pytest.param("pi3", "cortex-a53", marks=pytest.mark.slow),
        pytest.param("pi5", "cortex-a76", marks=pytest.mark.slow),
        pytest.param("aarch64", "cortex-a76", marks=pytest.mark.slow),
    ],
)
def test_on_arm(tmp_path, cases, target, core):
    compiler, emulator = require_program("aarch64-linux-gnu-gcc"), require_program("qemu-aarch64-static")
    agree(tmp_path, target, cases, compiler, emulator, "-cpu", core)


@pytest.mark.slow
def test_the_dot_product_stops_a_core_without_it(tmp_path, cases):
    """What makes the test above one: the emulator refuses the instruction where the core has none."""
    compiler, emulator = require_program("aarch64-linux-gnu-gcc"), require_program("qemu-aarch64-static")
    with pytest.raises(AssertionError):
        agree(tmp_path, "pi5", cases, compiler, emulator, "-cpu", "cortex-a72")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "needs"),
    [
        ("x86-64-v3", "avx2"),
        ("x86-64-v3-vnni", "avx_vnni"),
        ("x86-64-v4", "avx512bw"),
        ("x86-64-v4-vnni", "avx512_vnni"),
    ],
)
def test_on_x86(tmp_path, cases, target, needs):
    from pathlib import Path

    if needs not in Path("/proc/cpuinfo").read_text():
        pytest.skip(f"this CPU has no {needs}")
    agree(tmp_path, target, cases, require_program("gcc"))
