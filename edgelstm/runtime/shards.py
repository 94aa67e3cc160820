"""The rows of a pool's call among several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from edgelstm.machine.arrays import address as address_of
from edgelstm.program.status import OK
from edgelstm.runtime.engine import LARGEST, Engine, Floats, Grouped, Index
from edgelstm.runtime.executors import Programs

if TYPE_CHECKING:
    from edgelstm.machine.team import Crew
    from edgelstm.machine.together import SharedRows

_ROW_BYTES = 4096  # of weights that take about as long as moving a row in and out
_MOST_ROWS = 1 << 24


class Shards:
    """An engine for each thread, over the same slab; used by one caller at a time.

    Attributes:
        least: rows of a call from which threads are of use.
    """

    def __init__(self, crew: Crew, engines: Sequence[Grouped], least: int) -> None:
        self._crew, self._engines, self.least = crew, engines, least

    @cached_property
    def _rows(self) -> SharedRows:
        from edgelstm.machine.together import SharedRows

        group = LARGEST if self._engines[0].batched else 1
        return SharedRows(self._crew, [engine.rows(group) for engine in self._engines])

    def step(self, index: Index, address: int, x: Floats, y: Floats) -> int:
        """See `Engine`: whole groups among the threads, then what is left."""
        whole = len(index) - len(index) % LARGEST
        status = self._rows.step(address, whole, address_of(x), address_of(y), x.strides[0], y.strides[0])
        if status != OK or whole == len(index):
            return status
        return self._engines[0].step(index[whole:], address + 8 * whole, x[whole:], y[whole:])


def make_shards(first: Engine, make: Callable[[], Engine], programs: Programs, threads: int) -> Shards | None:
    """Engines for so many threads, `first` among them; None where one thread does as well.

    Args:
        first: the pool's engine.
        make: makes another.
        programs: of the pool's model.
        threads: how many were asked for.
    """
    machine = programs.machine
    if threads == 1 or machine is None or not isinstance(first, Grouped):
        return None
    from edgelstm.machine.team import crew
    from edgelstm.machine.threshold import worth

    found = crew(machine, threads)
    if found is None:
        return None
    weights = 4 * programs.program({}).weights.size + _ROW_BYTES
    least = 2 * LARGEST
    while least < _MOST_ROWS and not worth(machine, found.threads, weights, 1, least):
        least *= 2
    others = [engine for _ in range(found.threads - 1) if isinstance(engine := make(), Grouped)]
    return Shards(found, [first, *others], least)
