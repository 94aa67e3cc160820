"""Rows that run at some steps only: strided layers work when they have an output to give.

A gate stands before the rows that it guards and skips them all at the steps in between. It skips forward
only, so a program always ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgelstm.graph.ir import Node
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    sizes(fields, "stride")
    sizes(fields, "first", "rows", least=0)
    return [region(fields["tick"], 1)]


# The next `rows` rows run where tick is first, first + stride, first + 2 * stride...
GATE = Opcode(60, "gate", ("tick", "stride", "first", "rows"), _check, ("tick",))

OPCODES = (GATE,)
LOWER: dict[str, Callable[[Node, Lowering], None]] = {}
