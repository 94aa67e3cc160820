"""Faults that exporters are known for: looked for in every model, told in the report, repaired on request.

A model is never changed in silence: without `repair` it does what its file says, and the report says what looks wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edgelstm.graph.dims import TIME
from edgelstm.graph.ir import Graph, Node
from edgelstm.graph.ops import infer_all
from edgelstm.passes.reroll.cell import gate
from edgelstm.passes.reroll.trace import Trace
from edgelstm_converters.onnx.reader import nodes_of
from edgelstm_converters.onnx.report import Report

CELLS = ("lstm", "gru", "rnn")
START_STATES = {5: 1, 6: 2}  # input of a cell → the output that shows it after the last step


def lint_model(model: ModelProto, report: Report, repair: bool) -> ModelProto:
    """Look at the file before it is translated.

    Args:
        model: as read.
        report: is told what looks wrong.
        repair: put right what can be.

    Returns:
        The model, or a repaired copy.
    """
    doubtful = list(reset_before(model))
    if doubtful and repair:
        model_copy = ModelProto()
        model_copy.CopyFrom(model)
        model, doubtful = model_copy, list(reset_before(model_copy))
    for node in doubtful:
        where = f"GRU node {node.name or next(iter(node.output), '')!r}"
        if repair:
            kept = [attribute for attribute in node.attribute if attribute.name != "linear_before_reset"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("linear_before_reset", 1)])
            report.add("repaired", where, "linear_before_reset", "1 in place of 0, as PyTorch's GRU computes")
        else:
            report.add(
                "warning",
                where,
                "linear_before_reset",
                "0, but PyTorch's GRU is 1 and some of its exporters wrote 0 by mistake (pytorch#189225):"
                " compare the outputs with the original model's, or load with repair",
            )
    return model


def lint_graph(graph: Graph, report: Report, repair: bool) -> Graph:
    """Look at the translated model.

    Args:
        graph: after layers were put together.
        report: is told what looks wrong.
        repair: put right what can be.

    Returns:
        The graph, repaired where that was asked for.
    """
    for text in frozen_length(graph):
        report.add("warning", "model", "length", text)
    for where in loose_cells(graph):
        report.add(
            "warning",
            where,
            "cell",
            "looks like a gate of an LSTM or GRU that could not be put together: it runs as single operators,"
            " and its state is paired by states= only",
        )
    for node in doubled_biases(graph):
        if repair:
            graph = _with_one_bias(graph, node)
            report.add("repaired", node.where, "B", "the second of two equal biases is taken as zero")
        else:
            report.add(
                "warning",
                node.where,
                "B",
                "both of its biases are the same numbers: where the exporter wrote one bias twice, all gates are off"
                " by it; compare the outputs with the original model's, or load with repair",
            )
    for node, index, name in dropped_states(graph):
        if repair:
            graph = _with_state_shown(graph, node, index, name)
            report.add("repaired", node.where, "state", f"output {name + '.next'!r} shows the state after {name!r}")
        else:
            report.add(
                "warning",
                node.where,
                "state",
                f"starts from the input {name!r}, but no output shows the state after it: run() cannot go on from"
                " where it ended; load with repair to add that output",
            )
    return graph


def reset_before(model: ModelProto) -> Iterator[NodeProto]:
    """GRU nodes that PyTorch wrote with linear_before_reset=0, which its GRU never computes (pytorch#189225)."""
    if not made_by_pytorch(model):
        return
    for node in nodes_of(model.graph):
        if node.op_type == "GRU" and node.domain in ("", "ai.onnx"):
            found = [attribute.i for attribute in node.attribute if attribute.name == "linear_before_reset"]
            if not any(found):
                yield node


def made_by_pytorch(model: ModelProto) -> bool:
    """Whether PyTorch's own exporters wrote the file: the producer, or what the dynamo exporter leaves beside it."""
    keys = [entry.key for entry in (*model.metadata_props, *model.graph.metadata_props)]
    return model.producer_name.lower() == "pytorch" or any(key.startswith("pkg.torch.") for key in keys)


def frozen_length(graph: Graph) -> Iterator[str]:
    """A length that the exporter fixed: other lengths are refused."""
    if TIME in graph.frozen:
        yield (
            f"fixed at {graph.frozen[TIME]} by the exporter: other lengths are refused, though streams work;"
            " export the model with a dynamic time axis"
        )
    elif TIME in graph.pinned:
        yield f"fixed: {graph.pinned[TIME]}; export the model with a dynamic time axis"


def loose_cells(graph: Graph) -> Iterator[str]:
    """Products of two gates, sigmoid times tanh, over constant matrices: what is left of a cell outside a cell."""
    if not any(node.op == "tanh" for node in graph.nodes):
        return
    trace = Trace(graph)
    for node in graph.nodes:
        if node.op != "mul" or not all(name in trace.makers for name in node.inputs):
            continue
        makers = [trace.makers[name].op for name in node.inputs]
        if sorted(makers) != ["sigmoid", "tanh"]:
            continue
        gates = [gate(trace, trace.views[name]) for name in node.inputs]
        if all(found is not None and len(found.terms) > 1 for found in gates):
            yield node.where


def doubled_biases(graph: Graph) -> Iterator[Node]:
    """Recurrent nodes whose two biases are the same and not zero."""
    for node in graph.nodes:
        array = graph.constants.get(node.inputs[3]) if node.op in CELLS and node.inputs[3] else None
        if array is not None:
            first, second = np.split(array, 2, axis=1)
            if np.any(first) and np.array_equal(first, second):
                yield node


def dropped_states(graph: Graph) -> Iterator[tuple[Node, int, str]]:
    """Recurrent nodes with a start state that is an input, and a last state that no output shows.

    Yields:
        The node, the position of its last state among its outputs, and the input.
    """
    trace = Trace(graph)
    for node in graph.nodes:
        for index, after in START_STATES.items() if node.op in CELLS else ():
            if index >= len(node.inputs) or (index == 6 and node.op != "lstm") or not node.inputs[index]:
                continue
            name = trace.views[node.inputs[index]].root
            shown = _reaches_output(graph, node.outputs[after]) or _last_shown(node, graph)
            if name in graph.inputs and not shown:
                yield node, after, name


def _last_shown(node: Node, graph: Graph) -> bool:
    """Whether y is an output, of which the last entry is the last h, and there is no c to be missed."""
    return node.op != "lstm" and _reaches_output(graph, node.outputs[0])


def _reaches_output(graph: Graph, value: str) -> bool:
    """Whether an output shows a value, whole or among others."""
    if not value:
        return False
    reached = {value}
    for node in graph.nodes:
        if node.op in ("identity", "reshape", "transpose", "slice", "concat") and reached.intersection(node.inputs):
            reached.update(node.outputs)
    return bool(reached.intersection(graph.outputs.values()))


def _with_one_bias(graph: Graph, node: Node) -> Graph:
    array = graph.constants[node.inputs[3]].copy()
    array[:, array.shape[1] // 2 :] = 0
    array.flags.writeable = False
    name = _free(graph, f"{node.inputs[3]}:once")
    nodes = tuple(
        replace(other, inputs=(*other.inputs[:3], name, *other.inputs[4:])) if other is node else other
        for other in graph.nodes
    )
    return replace(graph, nodes=nodes, constants={**graph.constants, name: array})


def _with_state_shown(graph: Graph, node: Node, index: int, name: str) -> Graph:
    value = node.outputs[index] or _free(graph, f"{name}.next")
    outputs = (*node.outputs[:index], value, *node.outputs[index + 1 :])
    nodes = tuple(replace(other, outputs=outputs) if other.outputs == node.outputs else other for other in graph.nodes)
    return replace(graph, nodes=nodes, outputs={**graph.outputs, f"{name}.next": value})


def _free(graph: Graph, name: str) -> str:
    taken = set(infer_all(graph))
    while name in taken:
        name += "'"
    return name
