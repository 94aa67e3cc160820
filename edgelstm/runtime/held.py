"""The last good reading of each input, for streams that put it where numbers are not finite (on_invalid="hold")."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array
from edgelstm.runtime.readings import Rows, Slot, describe_invalid

PREFIX = "held:"  # snapshots keep the last good reading of each input under it


class Held:
    """What is held.

    Attributes:
        values: input name → its last good reading; none where the stream has another policy.
        seen: a good reading has come, so that there is something to hold.
    """

    def __init__(self, slots: Mapping[str, Slot], wanted: bool) -> None:
        self._slots = slots
        self.values = {name: slot.view.copy() for name, slot in slots.items()} if wanted else {}
        self.seen = False

    def keep(self) -> None:
        """Hold on to the reading that went through, which stands where the program took it from."""
        for name, held in self.values.items():
            held[...] = self._slots[name].view

    def fill(self, reading: Rows) -> dict[str, Array]:
        """The reading with every number that is not finite replaced by the last good one of its place.

        Raises:
            InputError: no good reading has come yet.
        """
        if not self.seen:
            raise InputError(f"{describe_invalid(reading)}, and no good reading has come yet that could be held")
        filled = dict(reading)
        for name, array in reading.items():
            if array.dtype == np.float32:
                filled[name] = np.where(np.isfinite(array), array, self.values[name].reshape(array.shape))
        return filled

    def take(self, values: Mapping[str, Array], seen: bool) -> None:
        """Hold what another stream or a snapshot does, as far as it has that."""
        for name, held in self.values.items():
            held[...] = values.get(name, held)
        self.seen = seen

    def named(self) -> dict[str, Array]:
        """What a snapshot keeps."""
        return {PREFIX + name: array.copy() for name, array in self.values.items()} if self.seen else {}
