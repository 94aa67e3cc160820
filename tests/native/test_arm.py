"""The same libraries on emulated ARM processors: golden vectors hold, and the right instructions are in."""

import re
import sys

import pytest

from tests.native import support
from tests.support import require_program

KINDS = (*support.KINDS, "bands")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("arm")


@pytest.mark.parametrize("kind", KINDS)
def test_golden_vectors_on_a_raspberry_pi_4(out, kind):
    folder = support.built(kind, "pi4", out)
    program = support.compiled_example(folder, "aarch64-linux-gnu-gcc", "-static")
    done = support.run(require_program("qemu-aarch64-static"), "-cpu", "cortex-a72", program, "golden.bin", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "64 steps, 0 wrong\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("target", "link", "cpu", "emulator", "emulated"),
    [
        ("pi3", "aarch64-linux-musl", "cortex_a53", "qemu-aarch64-static", "cortex-a53"),
        ("pi5", "aarch64-linux-musl", "cortex_a76", "qemu-aarch64-static", "cortex-a76"),
        ("pi2", "arm-linux-musleabihf", "cortex_a7", "qemu-arm-static", "cortex-a7"),
        ("armv7", "arm-linux-musleabihf", "cortex_a8", "qemu-arm-static", "cortex-a8"),
        ("pi-zero", "arm-linux-musleabihf", "arm1176jzf_s", "qemu-arm-static", "arm1176"),
        ("riscv64", "riscv64-linux-musl", "baseline_rv64", "qemu-riscv64-static", "rv64"),
    ],
)
def test_golden_vectors_on_other_processors(out, kind, target, link, cpu, emulator, emulated):
    folder = support.built(kind, target, out)
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", link, f"-mcpu={cpu}", "-O2", "-static")
    done = support.run(*compiler, "example.c", "libmodel.a", "-o", "example", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = support.run(require_program(emulator), "-cpu", emulated, folder / "example", "golden.bin", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "64 steps, 0 wrong\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "there", "absent"),
    [
        ("pi5", r"\tsdot\t", r"\tsmull2?\tv\d"),
        ("pi4", r"\tsmull\t.*v\d", r"\tsdot\t"),
        ("pi-zero", r"\tvmla?|\tvmul", r"\tv\w+\.\w+\t.*\bq\d"),
        ("pi2", r"\tvfma\.f32\t.*q\d", r"\tsdot"),
    ],
)
def test_instructions(out, target, there, absent):
    folder = support.built("lstm", target, out)
    arguments = ("-d", "--no-show-raw-insn", folder / "libmodel.so")
    done = support.run(require_program("llvm-objdump-19"), *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(there, done.stdout)
    assert not re.search(absent, done.stdout)
