"""What is in the libraries: documented functions alone, protected, with the target's instructions and no others."""

import re

import pytest

from edgelstm.machine.ahead import object_code
from edgelstm.machine.targets import find
from tests.native import support
from tests.support import require_program

HELPERS = {"memcpy", "memset", "memmove"}  # of any C library; those that start with __ are the compiler's own


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return support.built("lstm", "x86-64-v3", tmp_path_factory.mktemp("symbols"))


def readelf(*arguments):
    done = support.run(require_program("readelf"), "-W", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def exported(text):
    rows = [line.split() for line in text.splitlines()]
    return {row[7] for row in rows if len(row) == 8 and row[4] == "GLOBAL" and row[6] != "UND"}


def undefined(text):
    rows = [line.split() for line in text.splitlines()]
    return {row[7] for row in rows if len(row) == 8 and row[6] == "UND"}


def test_the_header_declares_all_that_is_exported(folder):
    declared = set(re.findall(r"\b((?:model|edgelstm_machine)_\w+)\(", (folder / "model.h").read_text()))
    symbols = readelf("--dyn-syms", folder / "libmodel.so")
    assert exported(symbols) == declared
    assert undefined(symbols) == set()


def test_nothing_of_python_or_numba_is_named(folder):
    data = (folder / "libmodel.so").read_bytes()
    assert not [word for word in (b"Py_", b"PyObject", b"numba", b"NRT_") if word in data]


def test_relro_no_executable_stack_no_text_relocation_no_other_library(folder):
    segments, dynamic = readelf("-l", folder / "libmodel.so"), readelf("-d", folder / "libmodel.so")
    assert "GNU_RELRO" in segments
    (stack,) = re.findall(r"GNU_STACK .* (RW?E?) +\w+$", segments, re.MULTILINE)
    assert stack == "RW"
    assert "BIND_NOW" in dynamic
    assert not re.search(r"NEEDED|TEXTREL", dynamic)


def test_no_global_state(folder):
    """Nothing of the library can be written to once it is loaded."""
    segments = readelf("-l", folder / "libmodel.so")
    (writable,) = re.findall(r"^ +LOAD +\w+ 0x(\w+) \w+ \w+ 0x(\w+) RW ", segments, re.MULTILINE)
    (relro,) = re.findall(r"^ +GNU_RELRO +\w+ 0x(\w+) \w+ \w+ 0x(\w+) R ", segments, re.MULTILINE)
    assert int(writable[0], 16) + int(writable[1], 16) <= int(relro[0], 16) + int(relro[1], 16)


def test_library_without_weights_is_small(folder):
    assert (folder / "libmodel.so").stat().st_size < 300_000


@pytest.mark.parametrize(
    "name",
    [
        "x86-64-v3",
        "pi4",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("pi5", "pi2", "armv7", "pi-zero", "riscv64", "x86-64-v2")
        ),
    ],
)
def test_no_object_calls_a_mathematical_function(name, tmp_path):
    path = tmp_path / "machine.o"
    path.write_bytes(object_code(find(name)))
    symbols = readelf("--syms", path)
    calls = {symbol for symbol in undefined(symbols) if not symbol.startswith("__")}
    assert calls <= HELPERS
    assert "edgelstm_machine_interpret" in exported(symbols)


def test_the_checks_find_what_they_look_for():
    text = (
        "  1: 0000000000000000 0 NOTYPE GLOBAL DEFAULT UND fmaf\n  2: 0000000000000010 8 FUNC GLOBAL DEFAULT 1 leak\n"
    )
    assert undefined(text) == {"fmaf"}
    assert exported(text) == {"leak"}
