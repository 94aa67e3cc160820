"""At which readings a stream gives its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgelstm.graph.ir import Array
from edgelstm.passes.stream.clock import Firing

ALWAYS = (1, 0)


class Schedule:
    """When each output is due.

    Attributes:
        stride: readings from one output to the next; the largest, where outputs differ.
        latency: readings before the one that gives the first output; the largest, where outputs differ.
        counts: whether some output is not due at every reading.
    """

    def __init__(self, outputs: Sequence[str], firings: Mapping[str, Firing], tick: Array | None) -> None:
        """`tick` is the state that counts readings, goes round, and is None where all outputs are always due."""
        self.stride = max((stride for stride, _ in firings.values()), default=1)
        self.latency = max((first for _, first in firings.values()), default=0)
        self.counts = tick is not None
        self._tick = tick
        self._firings = {name: ALWAYS if tick is None else firings.get(name, ALWAYS) for name in outputs}

    def due(self, count: int) -> dict[str, Array]:
        """Which of the next `count` readings each output is given at."""
        if self._tick is None:
            return {name: np.ones(count, bool) for name in self._firings}
        begun = int(self._tick[0])
        times = np.arange(begun, begun + count)
        return {
            name: (times >= first) & ((times - first) % stride == 0) for name, (stride, first) in self._firings.items()
        }
