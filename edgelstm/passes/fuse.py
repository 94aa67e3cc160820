"""Join a product with the sum that follows it: `linear` then `add` of a constant row is one `linear`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from edgelstm.graph.ir import Array, Graph, Node, TensorType
from edgelstm.graph.ops import infer_all


def fuse_bias(graph: Graph) -> Graph:
    """The graph with every `linear` without bias, followed only by the addition of a constant row, made one node.

    The sum then starts at the bias instead of ending with it, so results may differ in the last bit.

    Args:
        graph: any graph.

    Returns:
        A graph of the same inputs, outputs and value types.
    """
    types = infer_all(graph)
    uses = Counter(name for node in graph.nodes for name in node.inputs if name)
    uses.update(graph.outputs.values())
    uses.update(state.output for state in graph.states)
    products = {node.outputs[0]: node for node in graph.nodes if node.op == "linear" and not node.inputs[2]}
    constants = dict(graph.constants)
    fused: dict[str, Node] = {}  # output of a sum → the node that makes it
    gone: set[str] = set()
    for node in graph.nodes:
        if node.op != "add":
            continue
        for product, addend in (node.inputs, node.inputs[::-1]):
            if product not in products or uses[product] != 1 or addend not in graph.constants:
                continue
            row = _row(graph.constants[addend], types[product])
            if row is None:
                continue
            name = addend
            if row.shape != constants[addend].shape:
                name = _free(f"{addend}:row", set(types) | set(constants))
                constants[name] = row
            linear = products[product]
            fused[node.outputs[0]] = replace(linear, inputs=(*linear.inputs[:2], name), outputs=node.outputs)
            gone.add(product)
            break
    if not fused:
        return graph
    kept = (node for node in graph.nodes if node.outputs[0] not in gone)
    nodes = tuple(fused.get(node.outputs[0], node) for node in kept)
    used = {name for node in nodes for name in node.inputs} | set(graph.initial.values()) | set(graph.outputs.values())
    return replace(graph, nodes=nodes, constants={name: array for name, array in constants.items() if name in used})


def _row(array: Array, product: TensorType) -> Array | None:
    """A constant as one number per column of the product, where adding it does just that."""
    columns = product.shape[-1]
    if array.ndim > product.rank or any(size != 1 for size in array.shape[:-1]) or not isinstance(columns, int):
        return None
    row = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (columns,)))
    row.flags.writeable = False
    return row


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    return name


def fuse_padding(graph: Graph) -> Graph:
    """The graph with every `pad` of zeros around the sliding axes, followed only by a `conv`, taken into that."""
    uses = Counter(name for node in graph.nodes for name in node.inputs if name)
    uses.update(graph.outputs.values())
    uses.update(state.output for state in graph.states)
    pads = {node.outputs[0]: node for node in graph.nodes if node.op == "pad" and _pads_zeros(node)}
    fused: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        pad = pads.get(node.inputs[0]) if node.op == "conv" and node.inputs else None
        if pad is None or uses[pad.outputs[0]] != 1:
            continue
        before, around = node.attrs["pads"], pad.attrs["pads"]
        rank = len(around) // 2  # type: ignore[arg-type]
        outer = (*around[2:rank], *around[rank + 2 :])  # type: ignore[index]
        attrs = {**node.attrs, "pads": tuple(a + b for a, b in zip(before, outer, strict=True))}  # type: ignore[arg-type]
        fused[node.outputs[0]] = replace(node, inputs=(pad.inputs[0], *node.inputs[1:]), attrs=attrs)
        gone.add(pad.outputs[0])
    nodes = tuple(fused.get(node.outputs[0], node) for node in graph.nodes if node.outputs[0] not in gone)
    return replace(graph, nodes=nodes)


def _pads_zeros(node: Node) -> bool:
    """Zeros, and none on the axes of batch and channels."""
    pads, rank = node.attrs["pads"], len(node.attrs["pads"]) // 2  # type: ignore[arg-type]
    plain = node.attrs["mode"] == "constant" and node.attrs["value"] == 0
    return plain and rank > 2 and not any((*pads[:2], *pads[rank : rank + 2]))  # type: ignore[index]
