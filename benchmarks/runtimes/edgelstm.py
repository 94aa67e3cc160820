"""Ours: `stream.step(out=)`, `stream.run` and `pool.step`, with every default check on."""

from __future__ import annotations

import inspect
import math
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

import edgelstm
from benchmarks.layers import Layer, onnx_file
from benchmarks.runtimes import Call, Unavailable

NAME = "edgelstm"
PACKAGE = "edgelstm"


def layer(layer: Layer, length: int, rows: int, threads: int) -> Call:
    """A stream for one row; a pool, by slots, for several."""
    x, model = layer.readings(length, rows), layer_model(layer)
    if rows > 1:
        if length > 1:
            raise Unavailable("pools take one reading a call")
        return pool_step(model, x[0], rows, threads)
    stream = model.stream(**with_threads(model.stream, threads))
    if length > 1:
        xs, run = x[:, 0], stream.run
        return lambda: run(xs)
    reading, y, step = x[0, 0], np.empty(layer.hidden, np.float32), stream.step
    return lambda: step(reading, y)


def pool_step(model: edgelstm.Model, x: np.ndarray, capacity: int, threads: int = 1, keys: str = "slots") -> Call:
    """A row of x for as many of `capacity` streams, others at each call; random order where there are more.

    `keys` are "slots", "names" (the strings that the pool holds) or "new names" (equal strings, as parsers make them).
    """
    pool = model.pool(capacity, **with_threads(model.pool, threads))
    rng = np.random.default_rng(0)
    orders = [np.arange(capacity)] if capacity == len(x) else [rng.permutation(capacity)[: len(x)] for _ in range(39)]
    names = [f"site/{number % 7}/pump/{number}" for number in range(capacity)]
    lists = [[names[number] for number in order] for order in orders]
    slots = [pool.slots(group) for group in lists]
    copies = [[name[:1] + name[1:] for name in group] for group in lists]
    ways: dict[str, list[Any]] = {"slots": slots, "names": lists, "new names": copies}
    groups = cycle(ways[keys])
    step = pool.step
    return lambda: step(next(groups), x)


def script(layer: Layer, folder: Path) -> str:
    path = folder / "layer.edgelstm"
    layer_model(layer).save(path)
    return f"import edgelstm\nedgelstm.load({str(path)!r}).stream().step([0.5] * {layer.inputs})\n"


def model(path: Path, threads: int) -> Call:
    loaded = edgelstm.load(path)
    stream = loaded.stream(**with_threads(loaded.stream, threads))
    ((_, kind),) = stream.inputs.items()
    x, step = np.random.default_rng(0).normal(size=kind.shape).astype(np.float32), stream.step  # type: ignore[arg-type]
    return lambda: step(x)


@cache
def layer_model(layer: Layer) -> edgelstm.Model:
    """The layer from the file that the peers read; quantized wholly where it is to be int8."""
    from edgelstm_converters.onnx import load_onnx

    found = edgelstm.Model(load_onnx(onnx_file(Layer(layer.cell, layer.inputs, layer.hidden))).graph)
    return edgelstm.quantize(found, objective="size", tolerance=math.inf) if layer.int8 else found


def with_threads(make: Any, threads: int) -> dict[str, Any]:
    """`threads=` where it is offered.

    Raises:
        Unavailable: more than one thread, and it is not.
    """
    if threads == 1:
        return {}
    if "threads" not in inspect.signature(make).parameters:
        raise Unavailable(f"{make.__qualname__} has no threads yet")
    return {"threads": threads}
