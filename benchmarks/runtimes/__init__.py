"""One file for each engine that is measured, each with the same three functions.

`layer(layer, length, rows, threads)` and `model(path, threads)` give a function without arguments that makes one call
as a user of that engine would, states fed back, and returns the call's result. What an engine cannot do raises
`Unavailable` with the reason, which the reports show. `script` gives the text of a program of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from benchmarks.layers import Layer

Call = Callable[[], np.ndarray]


class Unavailable(Exception):  # noqa: N818  # a fact for the report, not a failure
    """What an engine cannot do, and why."""


class Runtime(Protocol):
    """What every file of this package offers."""

    NAME: str
    PACKAGE: str

    def layer(self, layer: Layer, length: int, rows: int, threads: int) -> Call:
        """Calls over `length` readings of `rows` streams; x is `layer.readings(length, rows)`, states start at 0."""

    def model(self, path: Path, threads: int) -> Call:
        """One step of an ONNX file, states fed back."""

    def script(self, layer: Layer, folder: Path) -> str:
        """A program that loads the layer from a file in the folder and makes one step, with nothing else imported."""


PEERS = ("onnxruntime", "litert", "pytorch", "openvino", "ncnn", "tract")
NAMES = ("edgelstm", *PEERS)


def runtime_file(name: str) -> Runtime:
    """An engine by the name of its file; none imports its package before it is asked for something."""
    return cast("Runtime", import_module(f"benchmarks.runtimes.{name}"))


def runtime(name: str) -> Runtime:
    """The same, where its package is installed.

    Raises:
        Unavailable: it is not.
    """
    found = runtime_file(name)
    if find_spec(found.PACKAGE) is None:
        raise Unavailable("not installed")
    return found
