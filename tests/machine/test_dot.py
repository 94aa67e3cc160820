"""Every dot product gives the same integers, those of exact arithmetic; ARM's run under emulation."""

import os
import re
import subprocess

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.registry import cpu_target

from edgelstm.errors import InputError
from edgelstm.machine import dot
from edgelstm.machine.dot import OFFSET, VARIANTS, dot_start, quad, store_bytes, to_float, variants
from edgelstm.machine.simd import load, store
from tests.machine.dot_object import compile_for
from tests.support import require_program

HERE = variants(*(cpu_target.target_context.codegen().magic_tuple()[k] for k in (0, 2)))
ARM = "aarch64-unknown-linux-gnu"
CORES = {"cortex-a53": "neon", "cortex-a72": "neon", "cortex-a76": "sdot"}


def address(array):
    return int(array.ctypes.data)


def make(variant):
    """The whole road of a row through one implementation: activations to bytes, sums, floats."""

    @numba.njit(error_model="numpy")
    def row(w, lost, x, q, count, zero, out):
        for k in range(0, count, 16):
            store_bytes(q, k, load(x, k))
        sums = dot_start(lost, 0, zero)
        for j in range(count // 4):
            sums = dot.dot(sums, w, 16 * j, quad(q, j))
        store(out, 0, to_float(sums))

    before = os.environ.get(dot.FORCED, "")
    os.environ[dot.FORCED] = variant
    try:
        row.compile((numba.int64,) * 7)
    finally:
        os.environ[dot.FORCED] = before
    return row


@pytest.fixture(scope="module")
def rows():
    return {variant: make(variant) for variant in HERE}


def sums(row, w, x, zero):
    """w (quads, 16, 4) int8, x (4 quads,) within ±127."""
    count = -(-len(x) // 16) * 16
    w = np.pad(w, ((0, count // 4 - len(w)), (0, 0), (0, 0)))
    q, out = np.zeros(count, np.uint8), np.zeros(16, np.float32)
    lost = -w.sum(axis=(0, 2), dtype=np.int32)
    levels = np.pad(x, (0, count - len(x))).astype(np.float32)
    row(*map(address, (w, lost, levels, q)), count, zero, address(out))
    return out


def exact(w, x, zero):
    total = np.einsum("kli,ki->l", w.astype(np.int64), x.astype(np.int64).reshape(-1, 4) - zero)
    return total.astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(
    quads=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    zero=st.integers(-127, 127),
    kind=st.sampled_from(["any", "saturated", "zeros", "one outlier"]),
)
def test_every_variant_gives_the_exact_sums(rows, quads, seed, zero, kind):
    rng = np.random.default_rng(seed)
    w = rng.integers(-128, 128, (quads, 16, 4)).astype(np.int8)
    x = rng.integers(-127, 128, 4 * quads)
    if kind == "saturated":
        w = rng.choice(np.array([-128, 127], np.int8), w.shape)
        x = rng.choice([-127, 127], x.shape)
    elif kind == "zeros":
        w[:, rng.integers(16)] = 0
        x[:] = 0
    elif kind == "one outlier":
        w[:, 1:] = rng.integers(-1, 2, w[:, 1:].shape)
        w[:, 0] = 127
    padding = -(-len(x) // 16) * 16 - len(x)
    want = exact(w, x, zero)
    assert padding >= 0
    for variant, row in rows.items():
        np.testing.assert_array_equal(sums(row, w, x, zero), want, err_msg=variant)


def test_the_longest_sum_stays_within_32_bits(rows):
    """2**16 products of the largest size, all of one sign."""
    w, x = np.full((1 << 14, 16, 4), -128, np.int8), np.full(1 << 16, -127)
    for variant, row in rows.items():
        np.testing.assert_array_equal(sums(row, w, x, 127), np.float32(128 * 254 * 2**16), err_msg=variant)


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        ("x86_64-unknown-linux-gnu", "+avx512f,+avx512bw,+avx512vl,+avx512vnni,+avx2,+ssse3", "vnni512"),
        ("x86_64-unknown-linux-gnu", "+avxvnni,+avx2,+ssse3,-avx512f", "vnni256"),
        ("x86_64-unknown-linux-gnu", "+avx512f,+avx512bw,+avx2,+ssse3", "avx2"),
        ("x86_64-pc-windows-msvc", "+ssse3", "ssse3"),
        ("x86_64-unknown-linux-gnu", "+sse2", "portable"),
        ("aarch64-unknown-linux-gnu", "+neon,+dotprod", "sdot"),
        ("aarch64-unknown-linux-gnu", "+neon", "neon"),
        ("arm64-apple-darwin", "+neon,+dotprod", "sdot"),
        ("riscv64-unknown-linux-gnu", "", "portable"),
    ],
)
def test_what_a_target_runs(triple, features, expected):
    assert variants(triple, features)[0] == expected


def test_an_unknown_name_is_refused(monkeypatch):
    monkeypatch.setenv(dot.FORCED, "fastest")
    with pytest.raises(InputError, match="EDGELSTM_DOT is 'fastest'; expected one of vnni512"):
        dot.forced()


def test_the_forced_name_is_part_of_the_key_of_compiled_code(monkeypatch):
    from edgelstm.machine import jit

    plain = jit.digest()
    monkeypatch.setenv(dot.FORCED, "portable")
    assert jit.digest() != plain


MAIN = """
#include <stdint.h>
#include <stdio.h>
void sums(int32_t *, const int8_t *, const int8_t *, int64_t);
static int8_t w[1 << 20], x[1 << 14];
int main(void) {
    int32_t total[16];
    int64_t quads;
    while (fread(&quads, 8, 1, stdin) == 1) {
        if (fread(total, 4, 16, stdin) != 16 || fread(w, 64, quads, stdin) != (size_t)quads
            || fread(x, 4, quads, stdin) != (size_t)quads) return 1;
        sums(total, w, x, quads);
        fwrite(total, 4, 16, stdout);
    }
    return 0;
}
"""


@pytest.mark.parametrize(
    ("core", "variant"),
    [(core, variant) for core, best in CORES.items() for variant in sorted({"neon", "portable", best})],
)
def test_on_arm_under_emulation(core, variant, tmp_path):
    compiler, emulator = require_program("aarch64-linux-gnu-gcc"), require_program("qemu-aarch64-static")
    (tmp_path / "sums.o").write_bytes(compile_for(variant, ARM, core)[0])
    (tmp_path / "main.c").write_text(MAIN)
    program = tmp_path / "program"
    subprocess.run([compiler, "-static", "-O1", "-o", program, tmp_path / "main.c", tmp_path / "sums.o"], check=True)
    rng = np.random.default_rng(0)
    cases = []
    for quads in (1, 2, 3, 7, 64, 1000, 4096):
        w = rng.integers(-128, 128, (quads, 16, 4)).astype(np.int8)
        x = rng.integers(-127, 128, (quads, 4)).astype(np.int8)
        cases.append((rng.integers(-1000, 1000, 16).astype(np.int32), w, x))
    extreme = np.full((4096, 16, 4), -128, np.int8), np.full((4096, 4), 127, np.int8)
    cases.append((np.zeros(16, np.int32), *extreme))
    text = b"".join(np.int64(len(w)).tobytes() + start.tobytes() + w.tobytes() + x.tobytes() for start, w, x in cases)
    run = subprocess.run([emulator, "-cpu", core, program], input=text, capture_output=True, check=True, timeout=300)
    got = np.frombuffer(run.stdout, np.int32).reshape(-1, 16)
    want = [start + np.einsum("kli,ki->l", w.astype(np.int64), x.astype(np.int64)) for start, w, x in cases]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("core", CORES)
def test_the_dot_product_instruction_reaches_only_cores_that_have_it(core):
    """What the features of a core choose, and what its assembly then holds."""
    features = {"sdot": "+neon,+dotprod", "neon": "+neon"}[CORES[core]]
    chosen = variants(ARM, features)[0]
    assembly = compile_for(chosen, ARM, core)[1]
    assert bool(re.search(r"\bsdot\b", assembly)) == (CORES[core] == "sdot")
    assert bool(re.search(r"\bsmull2?\b", assembly)) == (CORES[core] == "neon")
    assert not re.search(r"\bbl\b", assembly), "a library call"


@pytest.mark.parametrize("core", [core for core, has in CORES.items() if has == "neon"])
def test_portable_code_for_a_core_without_the_instruction_does_not_hold_it(core):
    assert not re.search(r"\b[su]dot\b", compile_for("portable", ARM, core)[1])


@pytest.mark.parametrize(
    ("variant", "cpu", "features", "instruction"),
    [
        ("vnni512", "cascadelake", "", r"vpdpbusd\s.*%zmm"),
        ("vnni256", "alderlake", "", r"vpdpbusd\s.*%ymm"),
        ("avx2", "haswell", "", r"vpsignb\s.*%ymm"),
        ("ssse3", "core2", "", r"\bpsignb\b"),
        ("portable", "x86-64", "", r"\bpmul"),
    ],
)
def test_the_instruction_that_a_variant_is_named_after(variant, cpu, features, instruction):
    assembly = compile_for(variant, "x86_64-unknown-linux-gnu", cpu, features)[1]
    assert re.search(instruction, assembly)
    assert set(OFFSET) < set(VARIANTS)
