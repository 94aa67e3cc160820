"""A graph from plain arrays: PyTorch, Keras or ONNX weights by name, with the layers listed or inferred."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.ir import Graph
from edgelstm_converters.array_book import ArrayBook, listing
from edgelstm_converters.infer import infer_layers, suggest_layers
from edgelstm_converters.layers import KINDS
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import ASSUMED, LAYOUTS, Entry
from edgelstm_converters.layers.first import input_width

IGNORE = "ignore"  # an entry of this kind names arrays that are left out on purpose
MAX_LAYERS = 1000
MAPPED = "mapped   "  # how a report line begins: the arrays or the caller say it


@dataclass(frozen=True, slots=True)
class ArraysImport:
    """What arrays were made into.

    Attributes:
        graph: input `x` (B, T, features) float32, or (B, T) int64 token ids; output `y`, batch first.
        report: one line for each layer, assumption and conversion.
    """

    graph: Graph
    report: tuple[str, ...]


def arrays_to_graph(
    arrays: Mapping[str, Any],
    layers: Sequence[Mapping[str, Any]] | None = None,
    layout: str = "torch",
    *,
    source: str = "arrays",
) -> ArraysImport:
    """The model that `arrays` hold.

    Args:
        arrays: name → array (NumPy arrays, torch tensors, nested lists), floats of any width.
        layers: one dict for each layer in the order in which data flows; docs/state-dicts.md lists the keys.
            None infers them, which works where names and shapes leave one reading: one LSTM or GRU
            module of PyTorch, stacked or bidirectional, with or without one Linear after it.
        layout: whose axes and gate order the arrays have: "torch", "keras" or "onnx".
        source: what the report and the graph's metadata say that the arrays are.

    Raises:
        InputError: arrays or layers do not fit together, or more than one model could be meant; then the message holds
            the list of layers to complete.
        UnsupportedError: a kind of layer or function is not known.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout: expected one of {', '.join(map(repr, LAYOUTS))}, got {layout!r}")
    book = ArrayBook(arrays)
    report = [f"read {len(book.names)} {source} in {layout} layout"]
    if layers is None:
        layers, assumed = infer_layers(book, layout)
        report += assumed
    entries = _entries(layers, book, layout)
    chain = ChainBuilder(input_width(entries))
    for entry in entries:
        KINDS[entry.kind](entry, chain)
        entry.finish()
    if unused := book.unused():
        raise InputError(
            f"layers: {len(unused)} of {len(book.names)} arrays belong to no layer: {listing(unused)}; list their "
            f"layers, or leave them out with {{'kind': '{IGNORE}', 'arrays': [names]}}"
        )
    graph = chain.finish({"source": source, "layout": layout})
    lines = [*report, *chain.report, *book.report()]
    return ArraysImport(graph, tuple(line if line.startswith(ASSUMED) else MAPPED + line for line in lines))


def _entries(layers: Sequence[Mapping[str, Any]], book: ArrayBook, layout: str) -> list[Entry]:
    """The entries that hold layers; arrays that an ignore entry names are counted as known."""
    if isinstance(layers, (str, bytes, Mapping)) or not isinstance(layers, Sequence):
        raise InputError(f"layers: expected a list of dicts, one for each layer, got {type(layers).__name__}")
    if not 0 < len(layers) <= MAX_LAYERS:
        raise InputError(
            f"layers: expected 1 to {MAX_LAYERS} layers, got {len(layers)}; the arrays suggest\n"
            f"{suggest_layers(book, layout)}"
        )
    entries = []
    for index, data in enumerate(layers):
        if isinstance(data, Mapping) and data.get("kind") == IGNORE:
            book.ignore(_names(data.get("arrays"), index), f"layers[{index}]")
            if extra := [key for key in data if key not in ("kind", "arrays")]:
                raise InputError(
                    f"layers[{index}]: unknown key {listing(extra)}; an {IGNORE} entry reads 'kind', 'arrays'"
                )
            continue
        entry = Entry(index, data, book, layout)
        if entry.kind not in KINDS:
            known = ", ".join((*KINDS, IGNORE))
            raise UnsupportedError(f"{entry.where}: kind: expected one of {known}, got {entry.kind!r}")
        entries.append(entry)
    return entries


def _names(value: Any, index: int) -> Iterable[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise InputError(f"layers[{index}]: arrays: expected a list of array names to leave out, got {value!r}")
    return names
