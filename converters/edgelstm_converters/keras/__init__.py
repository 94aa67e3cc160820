"""Keras files to Graphs: `.keras`, `.weights.h5` and `.h5`, read as JSON and arrays only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelstm.errors import InputError
from edgelstm.graph.ir import Graph
from edgelstm_converters.array_book import ArrayBook
from edgelstm_converters.arrays import MAPPED, arrays_to_graph
from edgelstm_converters.infer import suggest_layers
from edgelstm_converters.keras.convert import convert
from edgelstm_converters.keras.network import NetworkReader
from edgelstm_converters.keras.reader import KerasFile, read_config, read_file
from edgelstm_converters.layers.entry import ASSUMED


@dataclass(frozen=True, slots=True)
class KerasImport:
    """A translated model.

    Attributes:
        graph: input `x`, output `y`; several inputs or outputs have the names of their layers.
        report: one line for each input, layer and assumption.
    """

    graph: Graph
    report: tuple[str, ...]


def load_keras(
    path: str | os.PathLike[str],
    layers: Sequence[Mapping[str, Any]] | None = None,
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    keras_version: str | None = None,
) -> KerasImport:
    """Translate a Keras model. Nothing in the file is run, and Keras is not needed.

    Args:
        path: a `.keras` archive, a `.weights.h5`, or an `.h5` of Keras 2.
        layers: for a file of weights alone: the layers as in docs/state-dicts.md, in Keras's layout.
        config: for a file of weights alone: what `model.to_json()` gives, as a path, text or dict.
        keras_version: the version of Keras behind the weights, where nothing says it and it matters.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is damaged, or its layers and arrays do not fit together.
        UnsupportedError: a layer, or what it is asked for, is not honoured; names it.
        InputError: a file of weights alone came without its layers, or a whole model with them.
        DependencyError: h5py is missing.
    """
    file = read_file(path)
    if file.config is not None and (layers is not None or config is not None):
        raise InputError(f"{path}: the file describes its model itself: leave layers= and config= out")
    if layers is not None and config is not None:
        raise InputError(f"{path}: layers= and config= say the same: give one of them")
    if layers is not None:
        result = arrays_to_graph(file.weights.named(), layers, "keras", source="arrays of a Keras file")
        return KerasImport(result.graph, result.report)
    description, written = file.config, file.version
    if config is not None:
        description, says = read_config(config, str(path))
        written = written or says
    if description is None:
        raise InputError(_weights_alone(file))
    major = _major(written)
    if keras_version is not None:
        given = _major(keras_version)
        if not given or (major and major != given):
            expected = f"what the file says, {written}" if major else "a version such as '2' or '3.5.0'"
            raise InputError(f"keras_version: expected {expected}, got {keras_version!r}")
        major = given
    version = written or keras_version or ""
    network = NetworkReader(file.weights, major, file.where).read(description)
    metadata = {"source": "keras file", "keras_version": version}
    graph, lines = convert(network, file.weights, metadata)
    lines.insert(0, f"read {len(file.weights.book.names)} arrays of Keras {version or 'of unknown version'}")
    return KerasImport(graph, tuple(line if line.startswith(ASSUMED) else MAPPED + line for line in lines))


def _major(version: str) -> int:
    """The first number of a version; 0 where there is none."""
    found = re.match(r"(\d{1,4})(\.|$)", version)
    return int(found[1]) if found else 0


def _weights_alone(file: KerasFile) -> str:
    suggested = suggest_layers(ArrayBook(file.weights.named()), "keras")
    return (
        f"{file.where}: holds weights alone, not the layers between which they stand: give load_keras a config= (a "
        "file with what model.to_json() gives), or save the whole model as .keras, or put this list in order, complete "
        "it and pass it as layers:\n"
        f"{suggested}"
    )


__all__ = ["KerasImport", "load_keras"]
