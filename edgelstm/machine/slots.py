"""What compiled code finds where: the slots of the context block, and how `run` answers. Imports nothing.

The context is one int64 table per executor. The compiled interpreter and the entry points know a program only through
the address of this table, so that an interpreter compiled ahead of time fits the same entry points.
"""

from __future__ import annotations

CODE = 0  # address of the instruction rows
ROWS = 1  # how many
BASE = 2  # addresses of the arenas in the order of opcodes.ARENAS, and ABSENT_BASE
INPUT = 6  # address of the float32 input that `step` and `run` copy in
INPUT_WORDS = 7
OUTPUT = 8  # address of the float32 output that they copy out
OUTPUT_WORDS = 9
FLOATS = 10  # address of a table of (address, words), one pair for each float32 input
FLOAT_COUNT = 11
BUSY = 12  # 1 while a call runs
CHECK = 13  # 1: `step` and `run` refuse inputs that are not finite
INTERPRETER = 14  # address of int64 interpret(int64 context)
TURN = 15  # 0 and 1 by turns, from run to run: kernels go through large weights to and fro
ARRAY_TYPE = 16  # address of NumPy's array type, and
FLOAT32 = 17  # of its float32: what entry points compare arguments with
ANSWERS = 18  # address of a table of addresses: the Python integers 0 to STATUSES - 1
COUNTED = 19  # 1 where references to those integers are counted (before Python 3.12)
UNITS_BEFORE = 20  # units of a cell that are not computed, before and behind those that are
UNITS_BEHIND = 21
TEAM = 22  # address of the team of threads (see `team.py`) that takes part in this call; 0: none
SLOTS = 23

# What stands in the fourth base: ABSENT (-1) then resolves to address 0 without a branch.
ABSENT_BASE = 4

STATUSES = 8  # `run` answers steps done * STATUSES + status

# The opcode of a row that several threads run together. Executors make such rows; programs and files have none.
SHARED = 70
