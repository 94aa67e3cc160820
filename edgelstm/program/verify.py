"""Prove, before a program runs, that no instruction can read or write outside its arenas.

Inside the machine nothing is checked again, so this is what stands between a damaged program and
memory that is not its own.
"""

from __future__ import annotations

import numpy as np

from edgelstm.errors import ProgramError
from edgelstm.program.opcodes import ABSENT, ARENAS, LANES, ROW, SCRATCH, STATE, WEIGHTS, Opcode, Region
from edgelstm.program.program import Port, Program


def verify(program: Program) -> None:
    """Check every row and port of a program.

    Raises:
        ProgramError: an unknown opcode, a field out of range, or a region outside its arena; names the row.
    """
    from edgelstm.program.lower import BY_NUMBER
    from edgelstm.program.lower.gate import GATE

    if program.code.ndim != 2 or program.code.shape[1] != ROW or program.code.dtype != np.int64:
        raise ProgramError(f"the table must be int64 (rows, {ROW}), got {program.code.dtype} {program.code.shape}")
    sizes = {WEIGHTS: program.weights.size, STATE: program.state_words, SCRATCH: program.scratch_words}
    for number, row in enumerate(program.code.tolist()):
        opcode = BY_NUMBER.get(row[0])
        if opcode is None:
            raise ProgramError(f"row {number}: {row[0]} is not an opcode")
        _check_row(number, opcode, row, sizes)
        if opcode is GATE and opcode.read(row)["rows"] >= len(program.code) - number:
            raise ProgramError(f"row {number} (gate): guards more rows than follow")
    for role, arena, ports in (("input", SCRATCH, program.inputs), ("state", STATE, program.states)):
        for port in ports:
            if port.operand % 4 != arena:
                raise ProgramError(f"{role} {port.name!r} must live in {ARENAS[arena]}")
    for port in (*program.inputs, *program.outputs, *program.states):
        if any(size < 0 for size in port.shape):
            raise ProgramError(f"port {port.name!r} has a negative size: {port.shape}")
        _check_region(f"port {port.name!r}", Region(port.operand, port.words), sizes)
    _check_staging(program.inputs)


def _check_row(number: int, opcode: Opcode, row: list[int], sizes: dict[int, int]) -> None:
    where = f"row {number} ({opcode.name})"
    if any(row[1 + len(opcode.fields) :]):
        raise ProgramError(f"{where}: unused columns must be 0")
    try:
        regions = opcode.check(opcode.read(row))
    except ValueError as error:
        raise ProgramError(f"{where}: {error}") from None
    for region in regions:
        if region.operand != ABSENT:
            _check_region(where, region, sizes)


def _check_region(where: str, region: Region, sizes: dict[int, int]) -> None:
    arena, start = region.operand % 4, region.operand // 4
    if arena not in sizes or region.operand < 0 or region.words < 0:
        raise ProgramError(f"{where}: operand {region.operand} with {region.words} words is not a place")
    if region.write and arena == WEIGHTS:
        raise ProgramError(f"{where}: writes to the weights")
    slack = 0 if region.write else LANES - 1
    if start + region.words + slack > sizes[arena]:
        raise ProgramError(
            f"{where}: words {start} to {start + region.words} leave {ARENAS[arena]} of {sizes[arena] - LANES + 1}"
        )


def _check_staging(ports: tuple[Port, ...]) -> None:
    """float32 inputs stand before all others, from word 0 on, so that one sweep finds every NaN."""
    floats = [port.start + port.words for port in ports if port.dtype == "float32"]
    others = [port.start for port in ports if port.dtype != "float32"]
    if floats and others and min(others) < max(floats):
        raise ProgramError("float32 inputs must stand before all other inputs")
