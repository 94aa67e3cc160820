"""Shows a model: inputs, outputs, states, layers, parameters, bytes, multiply-adds per step."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgelstm.cli.common import add_model, load_model, print_json, print_rows, read_sizes

if TYPE_CHECKING:
    from edgelstm.runtime.model import Model


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm inspect`."""
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    facts = describe(load_model(options), read_sizes(options))
    if options.json:
        print_json(facts)
    else:
        _print(facts)
    return 0


def describe(model: Model, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Everything that `inspect` shows, as plain values; `sizes` as for `Model.stream`."""
    from edgelstm.errors import StreamError
    from edgelstm.graph.bind import substitute_graph
    from edgelstm.graph.cost import layers
    from edgelstm.passes.stream import to_step

    graph = model.graph
    try:
        step, streams, per_step = to_step(substitute_graph(graph, sizes)).graph, "yes", True
    except StreamError as error:
        step, streams, per_step = graph, f"no: {error}", False
    found = layers(step)
    costs = [layer.multiply_adds for layer in found]
    total = sum(costs[1:], costs[0]) if costs else 0
    return {
        "inputs": [_port(name, kind) for name, kind in model.inputs.items()],
        "outputs": [_port(name, kind) for name, kind in model.outputs.items()],
        "states": [
            {
                "name": s.name,
                "output": s.output,
                "dtype": s.type.dtype,
                "shape": list(map(_dim, s.type.shape)),
                "how": s.how,
            }
            for s in model.states
        ],
        "layers": [
            {
                "op": layer.op,
                "name": layer.name,
                "size": layer.size,
                "parameters": layer.parameters,
                "multiply_adds": _dim(layer.multiply_adds),
            }
            for layer in found
        ],
        "operators": len(graph.nodes),
        "parameters": sum(
            array.size for name, array in graph.constants.items() if array.dtype.kind == "f" or name in graph.scales
        ),
        "bytes": sum(array.nbytes for array in (*graph.constants.values(), *graph.scales.values())),
        # A model that cannot be streamed has no step: then this is its whole cost, in T and B.
        "multiply_adds_per_step" if per_step else "multiply_adds": _dim(total),
        "streams": streams,
        "fixed_sizes": dict(graph.frozen),
        "metadata": dict(model.metadata),
        "hash": model.hash,
    }


def _print(facts: dict[str, Any]) -> None:
    per_step = facts.get("multiply_adds_per_step", facts.get("multiply_adds"))
    rows = [(f"input {port['name']}", _type(port)) for port in facts["inputs"]]
    rows += [(f"output {port['name']}", _type(port)) for port in facts["outputs"]]
    for state in facts["states"]:
        shown = f" -> {state['output']}" if state["output"] else ""
        rows.append((f"state {state['name']}{shown}", f"{_type(state)}, {state['how']}"))
    rows += [
        (f"layer {layer['name']}", f"{layer['op']} {layer['size']}, {layer['parameters']} parameters")
        for layer in facts["layers"]
    ]
    rows += [(f"fixed {name}", f"{size} (by the exporter)") for name, size in facts["fixed_sizes"].items()]
    rows += [
        ("parameters", f"{facts['parameters']}"),
        ("bytes", f"{facts['bytes']}"),
        ("multiply-adds", f"{per_step}{' per step' if 'multiply_adds_per_step' in facts else ''}"),
        ("operators", f"{facts['operators']}"),
        ("streams", facts["streams"]),
        ("hash", facts["hash"]),
    ]
    rows += [(f"metadata {key}", text) for key, text in facts["metadata"].items()]
    print_rows(rows)


def _port(name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "dtype": kind.dtype, "shape": list(map(_dim, kind.shape))}


def _dim(dim: Any) -> int | str:
    return dim if isinstance(dim, int) else str(dim)


def _type(port: dict[str, Any]) -> str:
    return f"{port['dtype']} ({', '.join(map(str, port['shape']))})"
