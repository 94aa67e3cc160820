"""The Program: what an executor runs. A flat table of instructions over three arenas, for concrete sizes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from edgelstm.graph.ir import Graph


@dataclass(frozen=True, slots=True)
class Port:
    """Where a named tensor enters, leaves or lives in an arena, compact and row-major."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    operand: int

    @property
    def words(self) -> int:
        """Its size in 32-bit words; integers and booleans take a word each, too."""
        return prod(self.shape)

    @property
    def start(self) -> int:
        """Its first word within its arena."""
        return self.operand // 4

    @property
    def word_dtype(self) -> type[np.generic]:
        """How the words are read: float32, or int32 for everything else."""
        return np.float32 if self.dtype == "float32" else np.int32


@dataclass(frozen=True, slots=True)
class Program:
    """A verified plan for one set of sizes.

    Attributes:
        code: int64 (instructions, ROW), see `opcodes.py`.
        weights: float32 words shared by every stream, read-only, 64-byte aligned.
        scratch_words, state_words: sizes of the arenas that each executor owns.
        initial_state: float32 (state_words,), the state arena at the start.
        inputs, outputs, states: ports; float32 inputs stand first in scratch, in one stretch.
        graph: the same model at the same sizes, for the reference executor.
    """

    code: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    scratch_words: int
    initial_state: npt.NDArray[np.float32]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[Port, ...]
    graph: Graph

    @property
    def state_words(self) -> int:
        """Size of the state arena in words."""
        return int(self.initial_state.size)


def aligned(words: int) -> npt.NDArray[np.float32]:
    """float32 zeros whose first byte is 64-byte aligned."""
    raw = np.zeros(words * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + words * 4].view(np.float32)
