"""Quantized ONNX models: their weights keep their own integers and scales; activations are quantized where the file
says so.

Before translation the file is rewritten to float operators (`rewrite`), every integer tensor standing for the
numbers that it means:

- QuantizeLinear with fixed scales becomes round, clip and scale in float: exactly its numbers;
- DynamicQuantizeLinear leaves its input as it is, and the product that follows computes on 8-bit activations, with
  scales from each row (the file has one scale for the whole tensor, which is coarser);
- what computes on integers becomes its float operator, on dequantized weights: `quantized_operators.py` lists all.

After translation (`restore`) those weights become int8 constants with the file's scales again. Where its integers do
not fit int8 (a zero point far from 0), the same numbers stay float.

Sources: ONNX operator specification; ONNX Runtime's contributed operators (com.microsoft).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from onnx import ModelProto

from edgelstm.errors import UnsupportedError
from edgelstm.graph.ir import Graph
from edgelstm.graph.stored import MATRICES, MAX_INNER, channel_axes
from edgelstm_converters.onnx.quantized_operators import HANDLERS
from edgelstm_converters.onnx.quantized_rewriter import Mark, Rewriter
from edgelstm_converters.onnx.values import AnyArray

CONTRIBUTED = "com.microsoft"


def rewrite(model: ModelProto, where: str) -> tuple[ModelProto, dict[str, Mark]]:
    """The model in float operators, and what to restore, by node name; the model itself where nothing is quantized.

    Raises:
        FormatError: a scale is 0, negative or NaN, or a zero point has another type than its tensor; names the tensor.
        UnsupportedError: an integer tensor goes where only numbers may.
    """
    if not any(node.op_type in HANDLERS for node in model.graph.node):
        return model, {}
    work = Rewriter(model, where, HANDLERS)
    for node in model.graph.node:
        work.add(node)
    for output in model.graph.output:
        work.settle(output.name)
        if output.name in work.floats:
            raise UnsupportedError(f"{where}: output {output.name!r} is an integer tensor; export it dequantized")
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(work.nodes)
    used = {name for node in work.nodes for name in node.input} | {entry.name for entry in model.graph.output}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend([*kept, *work.tensors])
    for entry in [entry for entry in made.graph.value_info if entry.name not in used]:
        made.graph.value_info.remove(entry)
    domains = [entry for entry in made.opset_import if entry.domain == CONTRIBUTED]
    if not any(node.domain == CONTRIBUTED for node in work.nodes):
        for entry in domains:
            made.opset_import.remove(entry)
    return made, work.marks


def restore(graph: Graph, marks: Mapping[str, Mark]) -> Graph:
    """The graph with the weights of marked layers as int8 again."""
    constants, scales, nodes = dict(graph.constants), dict(graph.scales), list(graph.nodes)
    users: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            users[name] = users.get(name, 0) + 1
    for index, node in enumerate(nodes):
        mark = marks.get(node.name)
        if mark is not None and node.op == "gather" and node.attrs["axis"] == 0 and users[node.inputs[0]] == 1:
            found = _integers(constants[node.inputs[0]], mark.scales["table"], 1)
            if found is not None:
                constants[node.inputs[0]], scales[node.inputs[0]] = found
        if mark is None or node.op not in MATRICES:
            continue
        done = []
        for role, position in MATRICES[node.op].items():
            name = node.inputs[position] if position < len(node.inputs) else ""
            if role not in mark.scales or users.get(name) != 1 or name not in constants:
                continue
            found = _integers(constants[name], mark.scales[role], channel_axes(node.op))
            if found is not None:
                constants[name], scales[name] = found
                done.append(role)
        computed = tuple(role for role in done if role in mark.int8 and _computes(graph, node.inputs[1], node.op))
        if node.op == "conv" and node.attrs["group"] != 1:
            computed = ()
        nodes[index] = replace(node, attrs={**node.attrs, "int8": computed})
    return replace(graph, constants=constants, scales=scales, nodes=tuple(nodes))


def _computes(graph: Graph, name: str, op: str) -> bool:
    return bool(graph.constants[name].shape[channel_axes(op)] <= MAX_INNER)


def _integers(w: AnyArray, scale: AnyArray, leading: int) -> tuple[AnyArray, AnyArray] | None:
    """The integers that these weights were, and a scale an output channel; None where they are not int8."""
    shape = (*w.shape[:leading], *[1] * (w.ndim - leading))
    try:
        factors = np.ascontiguousarray(
            np.broadcast_to(scale.reshape(scale.shape + (1,) * (w.ndim - scale.ndim)), shape)
        )
    except ValueError:
        return None
    q = np.rint(w / factors)
    if not np.array_equal((q * factors).astype(np.float32), w) or q.min(initial=0) < -128 or q.max(initial=0) > 127:
        return None
    integers, kept = q.astype(np.int8), factors.astype(np.float32)
    integers.flags.writeable = False
    kept.flags.writeable = False
    return integers, kept
