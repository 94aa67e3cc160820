"""Put values that were taken apart together again: a concatenation of consecutive parts is a part itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgelstm.graph.ir import Graph, Node
from edgelstm.passes.reroll.emit import Writer
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import Pick, View


def join(graph: Graph) -> Graph:
    """The graph with every `concat` of consecutive entries of one value replaced by that part of the value."""
    trace = Trace(graph)
    writer = Writer(trace)
    gone: set[str] = set()
    for node in graph.nodes:
        if node.op != "concat" or len(node.inputs) < 2:
            continue
        view = _joined(node, [trace.views[name] for name in node.inputs], trace)
        if view is not None:
            kind = trace.types[node.outputs[0]]
            writer.bind(writer.view(view, kind.shape, node.outputs[0]), node.outputs[0])
            gone.add(node.outputs[0])
    if not gone:
        return graph
    joined = writer.finish(gone)
    return graph if joined is None else joined


def _joined(node: Node, views: Sequence[View], trace: Trace) -> View | None:
    kind = trace.types[node.outputs[0]]
    position = int(str(node.attrs["axis"])) % kind.rank
    first = views[0]
    if any((view.root, len(view.axes)) != (first.root, kind.rank) for view in views):
        return None
    moving = {
        axis
        for view in views
        for axis, (mine, theirs) in enumerate(zip(first.picks, view.picks, strict=True))
        if mine != theirs
    }
    if len(moving) != 1:
        return None
    (axis,) = moving
    groups = {view.axes[position] for view in views}
    rest = {(*view.axes[:position], *view.axes[position + 1 :]) for view in views}
    if not groups <= {(), (axis,)} or len(rest) != 1:
        return None
    picks = [view.picks[axis] for view in views]
    step = picks[0].step if picks[0].count is not None else None
    if step is None:
        stride = picks[1].start - picks[0].start
        if not isinstance(stride, int) or stride == 0:
            return None
        step = stride
    start, total = picks[0].start, picks[0].start
    for pick in picks:
        if pick.start != total or (pick.count is not None and pick.step != step):
            return None
        total = total + pick.size * step
    count = sum((pick.size for pick in picks), start=0)
    axes = (*first.axes[:position], (axis,), *first.axes[position + 1 :])
    whole = Pick(start, count, step)
    joined = replace(first, picks=(*first.picks[:axis], whole, *first.picks[axis + 1 :]), axes=axes)
    return joined if joined.shape == kind.shape else None
