"""Whether an index in the data can stop a program, and whether it can after something was written to the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgelstm.program.lower import BY_NUMBER
from edgelstm.program.lower.gate import GATE
from edgelstm.program.lower.gather import BOUND, GATHER, PUT, REVERSE
from edgelstm.program.lower.gather_int8 import GATHER_INT8
from edgelstm.program.opcodes import STATE, Region
from edgelstm.program.program import Program

_STOPPING = (GATHER.number, GATHER_INT8.number, PUT.number, REVERSE.number, BOUND.number)

Gate = tuple[int, int, int]  # tick, stride, first


@dataclass(frozen=True, slots=True)
class _Looked:
    """Indices that an earlier row has found in range."""

    indices: Region
    size: int
    backward: bool
    gates: frozenset[Gate]

    def proves(self, indices: Region, size: int, backward: bool, gates: frozenset[Gate]) -> bool:
        """Whether a row that uses these indices cannot fail."""
        same = self.indices.operand == indices.operand and self.indices.words >= indices.words
        return same and self.size <= size and (backward or not self.backward) and self.gates <= gates

    def touched_by(self, region: Region) -> bool:
        """Whether a write may change the indices, or when this row runs."""
        ticks = [Region(tick, 1) for tick, _, _ in self.gates]
        return any(_overlap(region, own) for own in (self.indices, *ticks))


def can_stop(program: Program) -> bool:
    """Whether a program can answer INDEX."""
    return any(row[0] in _STOPPING for row in program.code.tolist())


def can_stop_halfway(program: Program) -> bool:
    """Whether a program can answer INDEX with part of a step in its state; one that is not sound may do anything.

    Rows that look at indices before any state is written (BOUND) make most programs safe.
    """
    if not can_stop(program):
        return False
    try:
        return _walk(program)
    except (KeyError, ValueError):
        return True


def _walk(program: Program) -> bool:
    looked: list[_Looked] = []
    open_gates: list[tuple[int, Gate]] = []  # (the first row that it no longer guards, gate)
    written = False
    for number, row in enumerate(program.code.tolist()):
        opcode = BY_NUMBER[row[0]]
        fields = opcode.read(row)
        open_gates = [(last, gate) for last, gate in open_gates if number < last]
        gates = frozenset(gate for _, gate in open_gates)
        if opcode is GATE:
            open_gates.append((number + 1 + fields["rows"], (fields["tick"], fields["stride"], fields["first"])))
        elif opcode is BOUND:
            indices = Region(fields["indices"], fields["count"])
            looked.append(_Looked(indices, fields["size"], bool(fields["backward"]), gates))
            if written:
                return True
        elif (
            written
            and opcode in (GATHER, GATHER_INT8, PUT, REVERSE)
            and not _proved(opcode.number, fields, gates, looked)
        ):
            return True
        for region in opcode.check(fields):
            if region.write and region.words:
                written |= region.operand % 4 == STATE
                looked = [one for one in looked if not one.touched_by(region)]
    return False


def _proved(number: int, fields: Mapping[str, int], gates: frozenset[Gate], looked: list[_Looked]) -> bool:
    if number in (GATHER.number, GATHER_INT8.number):
        used = Region(fields["indices"], fields["count"]), fields["size"], True, gates
    elif number == PUT.number:
        used = Region(fields["index"], 1), fields["size"], False, gates
    else:
        return False
    return any(one.proves(*used) for one in looked)


def _overlap(a: Region, b: Region) -> bool:
    first, second = a.operand // 4, b.operand // 4
    return a.operand % 4 == b.operand % 4 and first < second + b.words and second < first + a.words
