"""Join what belongs together: a product and the sum of a constant row, zeros around a sequence and a convolution."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

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
    uses = _uses(graph)
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
    """The graph with every `pad` of zeros around the sliding axes of convolutions taken into them."""
    graph = _pad_after_transpose(graph)
    uses = _uses(graph)
    pads = {node.outputs[0]: node for node in graph.nodes if node.op == "pad" and _pads_zeros(node)}
    nodes = []
    for node in graph.nodes:
        pad = pads.get(node.inputs[0]) if node.op == "conv" and node.inputs else None
        if pad is None:
            nodes.append(node)
            continue
        before, around = node.attrs["pads"], pad.attrs["pads"]
        rank = len(around) // 2  # type: ignore[arg-type]
        outer = (*around[2:rank], *around[rank + 2 :])  # type: ignore[index]
        attrs = {**node.attrs, "pads": tuple(a + b for a, b in zip(before, outer, strict=True))}  # type: ignore[arg-type]
        nodes.append(replace(node, inputs=(pad.inputs[0], *node.inputs[1:]), attrs=attrs))
        uses[pad.outputs[0]] -= 1
    return replace(graph, nodes=tuple(node for node in nodes if node.outputs[0] not in pads or uses[node.outputs[0]]))


def _pad_after_transpose(graph: Graph) -> Graph:
    """A `pad` that only a `transpose` follows changes places with it: convolutions come next."""
    uses = _uses(graph)
    pads = {node.outputs[0]: node for node in graph.nodes if node.op == "pad" and uses[node.outputs[0]] == 1}
    moved: dict[str, tuple[Node, Node]] = {}  # output of a pad → the two in their new order
    for node in graph.nodes:
        pad = pads.get(node.inputs[0]) if node.op == "transpose" else None
        if pad is not None:
            perm: Any = node.attrs["perm"]
            around: Any = pad.attrs["pads"]
            turned = tuple(around[axis + side] for side in (0, len(perm)) for axis in perm)
            first = replace(node, inputs=pad.inputs, outputs=pad.outputs)
            then = replace(pad, inputs=pad.outputs, outputs=node.outputs, attrs={**pad.attrs, "pads": turned})
            moved[pad.outputs[0]] = first, then
    if not moved:
        return graph
    gone = {then.outputs[0]: then for _, then in moved.values()}
    nodes = [moved[name][0] if (name := node.outputs[0]) in moved else gone.get(name, node) for node in graph.nodes]
    return replace(graph, nodes=tuple(nodes))


def _uses(graph: Graph) -> Counter[str]:
    uses = Counter(name for node in graph.nodes for name in node.inputs if name)
    uses.update(graph.outputs.values())
    uses.update(state.output for state in graph.states)
    return uses


def _pads_zeros(node: Node) -> bool:
    """Zeros, and none on the axes of batch and channels."""
    pads, rank = node.attrs["pads"], len(node.attrs["pads"]) // 2  # type: ignore[arg-type]
    plain = node.attrs["mode"] == "constant" and node.attrs["value"] == 0
    return plain and rank > 2 and not any((*pads[:2], *pads[rank : rank + 2]))  # type: ignore[index]
