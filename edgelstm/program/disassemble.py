"""A program as text, one line an instruction, for people."""

from __future__ import annotations

from edgelstm.program.opcodes import ABSENT, ARENAS
from edgelstm.program.program import Program


def disassemble(program: Program) -> str:
    """One line an instruction: row, name, and each field that is not 0; operands as `arena+word`."""
    from edgelstm.program.lower import BY_NUMBER

    lines = []
    for number, row in enumerate(program.code.tolist()):
        opcode = BY_NUMBER[row[0]]
        fields = opcode.read(row)
        parts = [
            f"{name}={place(value) if name in opcode.operands else value}"
            for name, value in fields.items()
            if value or name in opcode.operands
        ]
        lines.append(f"{number:4d}  {opcode.name:<12} {' '.join(parts)}")
    return "\n".join(lines)


def place(value: int) -> str:
    """An operand as text."""
    return "-" if value == ABSENT else f"{ARENAS[value % 4]}+{value // 4}"
