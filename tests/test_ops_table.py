"""The closed table of operators and everything that must keep up with it."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from edgelstm.graph.check import KINDS
from edgelstm.graph.ops import ACTIVATIONS, OPS, REQUIRED
from edgelstm.passes.stream import RULES
from edgelstm.program import functions
from edgelstm.program.lower import BY_NUMBER, FAMILIES, INT8_FAMILIES, LOWER
from edgelstm.program.opcodes import ROW
from edgelstm.reference import RECURRENT, REFERENCE
from edgelstm.reference.activations import activate
from tests.strategies import MAKERS

ROOT = Path(__file__).resolve().parent.parent / "edgelstm"
CELLS = {"rnn", "gru", "lstm"}
STEP_ONLY = {"put"}  # what the stream pass makes, not what it reads


def stems(folder):
    return {path.stem for path in (ROOT / folder).glob("*.py")}


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("rules for the time axis", set(RULES) | STEP_ONLY),
        ("definitions in NumPy", set(REFERENCE)),
        ("lowerings", set(LOWER)),
        ("random graphs", set(MAKERS)),
    ],
)
def test_every_operator_has_its(what, names):
    assert names == set(OPS), what


def test_cells():
    assert set(RECURRENT) == CELLS


def test_every_attribute_has_a_kind_and_no_kind_is_left_over():
    assert set(KINDS) == {name for op in OPS.values() for name in op.attrs}


def test_every_default_is_of_its_kind():
    types = {"int": int, "float": float, "text": str, "0 or 1": int, "texts": tuple}
    for op in OPS.values():
        for name, default in op.attrs.items():
            if default is not REQUIRED:
                assert type(default) is types[KINDS[name]], name


def test_activations_are_operators_and_functions():
    assert set(ACTIVATIONS) == set(functions.ACTIVATIONS)
    for name in ACTIVATIONS:
        assert functions.activation(name) == functions.ACTIVATIONS[name]
        assert OPS[name].inputs == ("x",)
        activate(name, np.zeros(1), 1.0, 1.0)


def test_opcodes_have_room_and_numbers_of_their_own():
    modules = [import_module(f"edgelstm.program.lower.{stem}") for stem in (*FAMILIES, *INT8_FAMILIES)]
    opcodes = [opcode for module in modules for opcode in module.OPCODES]
    assert len({opcode.name for opcode in opcodes}) == len(opcodes)
    assert len({opcode.number for opcode in opcodes}) == len(opcodes) == len(BY_NUMBER)
    for number, opcode in BY_NUMBER.items():
        assert opcode.number == number
        assert len(opcode.fields) < ROW
        assert len(set(opcode.fields)) == len(opcode.fields)
        assert set(opcode.operands) <= set(opcode.fields)


@pytest.mark.parametrize("stem", FAMILIES)
def test_a_family_goes_by_one_name_everywhere(stem):
    """`git ls-files | grep lstm` shows the whole vertical slice of the LSTM."""
    assert stem in stems("program/lower")
    assert stem in stems("machine/kernels")
    if not import_module(f"edgelstm.program.lower.{stem}").LOWER:
        return  # instructions that no operator asks for by name
    reference = "linear" if stem == "matmul" else stem  # both products stand in one file there
    assert reference in stems("reference")


def test_every_opcode_is_dispatched():
    text = (ROOT / "machine" / "interpreter.py").read_text()
    for opcode in BY_NUMBER.values():
        assert f"{opcode.name.upper()}.number" in text, opcode.name
