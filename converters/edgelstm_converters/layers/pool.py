"""Pooling entries: the whole sequence becomes one vector of features."""

from __future__ import annotations

from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry

POOLS = ("last", "first", "mean", "max")


def add_pool(entry: Entry, to: ChainBuilder) -> None:
    """Appends a pooling over time: the last or first step, or the mean or largest of all steps.

    Raises:
        InputError: the time axis is gone already, or the kind of pooling is not known.
    """
    to.need_sequence(entry.where)
    pool = entry.choice("pool", POOLS)
    axis = 0 if to.time_major else 1
    if pool in ("mean", "max"):
        to.then(f"reduce_{pool}", entry.label, axes=(axis,), keepdims=0)
    else:
        shape = to.type.shape
        start = 0 if pool == "first" else shape[axis] - 1
        to.then("slice", entry.label, axes=(axis,), starts=(start,), stops=(start + 1,), steps=(1,))
        to.then("reshape", f"{entry.label}.vector", shape=(shape[1 - axis], shape[2]))
    to.pooled = True
    to.report.append(f"{entry.label}: {pool} over time")
