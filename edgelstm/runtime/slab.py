"""The memory of a pool: one row of words for each of its streams, with the state and what is held for bad readings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.errors import StateError
from edgelstm.graph.ir import Array
from edgelstm.program.opcodes import LANES
from edgelstm.program.program import Program, aligned
from edgelstm.runtime.held import PREFIX as HELD
from edgelstm.runtime.ports import Row

Index: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float32]


class Slab:
    """States by slot.

    Attributes:
        states: what a row of `words` holds.
        words: (capacity, n) a multiple of `LANES` words a row, and as many behind the last.
        held: (capacity, m) the last good reading of each slot, None where bad readings are not held.
        seen: (capacity,) whether a good reading has come.
    """

    def __init__(self, program: Program, capacity: int, hold: bool) -> None:
        self.states, self._inputs = Row(program.states, {}), Row(program.inputs, {})
        width = -(-max(self.states.words, 1) // LANES) * LANES
        self.words = aligned(capacity * width + LANES)[: capacity * width].reshape(capacity, width)
        self.held = np.zeros((capacity, self._inputs.words), np.float32) if hold else None
        self.seen = np.zeros(capacity, np.bool_)
        self._start = self.states.flatten(program.initial_state, program.states)

    def start(self, slots: Index | int) -> None:
        """Put streams at the model's start state."""
        self.restart(slots)
        self.seen[slots] = False

    def restart(self, slots: Index | int) -> None:
        """The same, but what is held stays."""
        self.words[slots, : len(self._start)] = self._start

    def hold(self, slots: Index, readings: Floats) -> None:
        """These readings are good."""
        if self.held is not None:
            self.held[slots] = readings
            self.seen[slots] = True

    def copy(self, slots: Index) -> tuple[Floats, Floats | None, Flags]:
        """All of some slots, for `put_back`."""
        return self.words[slots], None if self.held is None else self.held[slots], self.seen[slots]

    def put_back(self, slots: Index, copied: tuple[Floats, Floats | None, Flags]) -> None:
        """The inverse of `copy`."""
        self.words[slots], self.seen[slots] = copied[0], copied[2]
        if self.held is not None and copied[1] is not None:
            self.held[slots] = copied[1]

    # By name, as snapshots have it.

    @property
    def expected(self) -> dict[str, Array]:
        """Names, dtypes and shapes of the states."""
        return self.states.split(np.zeros(self.states.words, np.float32))

    @property
    def optional(self) -> dict[str, Array]:
        """Those of what is held."""
        zeros = np.zeros(self._inputs.words, np.float32)
        return {HELD + name: value for name, value in self._inputs.split(zeros).items()}

    def named(self, slot: int) -> dict[str, Array]:
        """A slot's states, and what it holds."""
        found = self.states.split(self.words[slot])
        if self.held is not None and self.seen[slot]:
            found |= {HELD + name: value for name, value in self._inputs.split(self.held[slot]).items()}
        return found

    def take(self, slot: int, states: Mapping[str, Array]) -> None:
        """The inverse of `named`."""
        self.words[slot, : self.states.words] = self.states.join({name: states[name] for name in self.states.kinds})
        self.seen[slot] = self.held is not None and len(states) > len(self.states.kinds)
        if self.held is not None and self.seen[slot]:
            self.held[slot] = self._inputs.join({name: states[HELD + name] for name in self._inputs.kinds})

    # As bytes, for checkpoints.

    def layout(self) -> str:
        """What a row consists of, as text that is equal where rows fit."""
        held = self._inputs.describe() if self.held is not None else ""
        return f"{self.states.describe()}|{held}"

    def to_bytes(self, slot: int) -> bytes:
        """All of a slot."""
        held = b"" if self.held is None else self.held[slot].tobytes()
        return bytes([bool(self.seen[slot])]) + self.words[slot, : self.states.words].tobytes() + held

    def check_bytes(self, key: object, blob: bytes) -> None:
        """Whether `from_bytes` may take what belongs to a key.

        Raises:
            StateError: they are of another size.
        """
        size = 4 * (self.states.words + self._inputs.words * (self.held is not None)) + 1
        if len(blob) != size:
            raise StateError(f"key {key!r}: expected a state of {size} bytes, got {len(blob)}")

    def from_bytes(self, slot: int, blob: bytes) -> None:
        """The inverse of `to_bytes`."""
        words = np.frombuffer(blob, np.float32, (len(blob) - 1) // 4, 1)
        self.words[slot, : self.states.words] = words[: self.states.words]
        self.seen[slot] = bool(blob[0])
        if self.held is not None:
            self.held[slot] = words[self.states.words :]
