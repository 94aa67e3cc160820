"""Which operators, attributes, optional inputs and outputs a set of graphs has exercised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edgelstm.graph.ir import DTYPES, Graph, Node
from edgelstm.graph.ops import ACTIVATIONS, ANY, OPS, REQUIRED

CHOICES = {  # attributes whose every value counts
    "direction": ("forward", "reverse", "bidirectional"),
    "mode": ("constant", "reflect", "edge"),
    "linear_before_reset": (0, 1),
    "input_forget": (0, 1),
    "keepdims": (0, 1),
    "select_last": (0, 1),
    "count_include_pad": (0, 1),
    "batch_axis": (0, 1),
    "time_axis": (0, 1),
    "to": DTYPES,
}
CELLS = ("rnn", "gru", "lstm")
STORED = ("int8", "x_scale", "x_zero")  # rounding jumps, so tests of their own compare these bit for bit
PER_CELL = ("activations", "activation_alpha", "activation_beta")


def facts(graph: Graph) -> set[str]:
    """What one graph exercises."""
    types = {name: kind.dtype for name, kind in graph.inputs.items()}
    types |= {name: array.dtype.name for name, array in graph.constants.items()}
    found = set()
    for node in graph.nodes:
        found |= _node_facts(node, types)
        _type_outputs(node, types)
    return found


def required() -> set[str]:
    """What all graphs together must have exercised, read off the operator table."""
    wanted = set()
    for op, spec in OPS.items():
        wanted.add(op)
        for role in spec.inputs:
            if role.endswith("?"):
                wanted |= {f"{op}: {role[:-1]} given", f"{op}: {role[:-1]} absent"}
        if len(spec.outputs) > 1:
            wanted |= {f"{op}: output {role} {how}" for role in spec.outputs for how in ("wanted", "unwanted")}
        for name, default in spec.attrs.items():
            if name in CHOICES:
                wanted |= {f"{op}.{name} = {value}" for value in CHOICES[name]}
            elif name == "activations":
                wanted |= {f"{op}.activations has {function}" for function in ACTIVATIONS}
            elif name in PER_CELL:
                wanted |= {f"{op}.{name} zero", f"{op}.{name} not zero"}
            elif default is not REQUIRED and name not in STORED:
                wanted |= {f"{op}.{name} default", f"{op}.{name} other"}
        if {"axis", "axes"} & set(spec.attrs):
            wanted |= {f"{op} from the front", f"{op} from the back"}
    wanted |= {f"cast from {dtype}" for dtype in ANY}
    for op in ("conv", "max_pool", "avg_pool"):
        wanted |= {f"{op} in {rank} dimensions" for rank in (1, 2)}
        wanted |= {f"{op}.{name} not one" for name in ("strides", "dilations")} | {f"{op}.pads not zero"}
    wanted |= {"slice backwards", "slice by two", "slice of a symbolic length"}
    wanted |= {f"{op} of {dtype}" for op in ("add", "div", "maximum", "reduce_sum", "argmax") for dtype in _numbers()}
    return wanted


def missing(graphs: Iterable[Graph]) -> set[str]:
    """Facts that no graph shows."""
    seen: Counter[str] = Counter()
    for graph in graphs:
        seen.update(facts(graph))
    return required() - set(seen)


def _numbers() -> tuple[str, ...]:
    return tuple(dtype for dtype in ANY if dtype != "bool")


def _node_facts(node: Node, types: dict[str, str]) -> set[str]:
    spec, op = OPS[node.op], node.op
    found = {op}
    dtype = types.get(next(filter(None, node.inputs), ""), "int64")
    found.add(f"{op} of {dtype}")
    if op == "cast":
        found.add(f"cast from {dtype}")
    if spec.inputs != ("*",):
        for role, name in zip(spec.inputs, node.inputs, strict=True):
            if role.endswith("?"):
                found.add(f"{op}: {role[:-1]} {'given' if name else 'absent'}")
    for role, name in zip(spec.outputs, node.outputs, strict=True):
        found.add(f"{op}: output {role} {'wanted' if name else 'unwanted'}")
    for name, value in node.attrs.items():
        if name in CHOICES:
            found.add(f"{op}.{name} = {value}")
        elif name == "activations":
            found |= {f"{op}.activations has {function}" for function in value}
        elif name in PER_CELL:
            found |= {f"{op}.{name} {'not zero' if item else 'zero'}" for item in value}
        elif name in ("strides", "dilations") and any(item != 1 for item in value):
            found.add(f"{op}.{name} not one")
        elif name == "pads" and any(value):
            found.add(f"{op}.pads not zero")
        if spec.attrs[name] is not REQUIRED:
            found.add(f"{op}.{name} {'default' if value == spec.attrs[name] else 'other'}")
    for axis in (node.attrs["axis"],) if "axis" in node.attrs else node.attrs.get("axes", ()):
        found.add(f"{op} from the {'back' if axis < 0 else 'front'}")
    if op in ("conv", "max_pool", "avg_pool"):
        found.add(f"{op} in {len(node.attrs['strides'])} dimensions")
    if op == "slice":
        steps, stops = node.attrs["steps"], node.attrs["stops"]
        found |= {"slice backwards"} if min(steps) < 0 else set()
        found |= {"slice by two"} if 2 in map(abs, steps) else set()
        found |= {"slice of a symbolic length"} if any(not isinstance(stop, int) for stop in stops) else set()
    return found


def _type_outputs(node: Node, types: dict[str, str]) -> None:
    dtype = types.get(next(filter(None, node.inputs), ""), "int64")
    if node.op == "cast":
        dtype = str(node.attrs["to"])
    elif node.op in ("equal", "less", "greater"):
        dtype = "bool"
    elif node.op == "argmax":
        dtype = "int64"
    elif node.op == "where":
        dtype = types[node.inputs[1]]
    types.update(dict.fromkeys(filter(None, node.outputs), dtype))
