"""From a finished translation to a Graph: names for the free dimensions, and what the file fixed.

T is the dimension of an input that reaches the sequence axis of a recurrent node, B the one at its
batch axis. Integers of the file that stay free without being T or B are put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx import ModelProto, TensorProto

from edgelstm.errors import FormatError, InputError, UnsupportedError
from edgelstm.graph.dims import BATCH, TIME, Dim, Expr, substitute, substitute_shape, symbol, symbols
from edgelstm.graph.ir import Attr, Graph, Node, State, TensorType
from edgelstm.graph.ops import infer_all
from edgelstm.passes.reroll import free_length
from edgelstm_converters.onnx.importer import Importer
from edgelstm_converters.onnx.reader import nodes_of
from edgelstm_converters.onnx.symbols import Origin
from edgelstm_converters.onnx.values import Flow


def finish(work: Importer, states: Mapping[str, str]) -> Graph:
    """The Graph of a translated model.

    Args:
        work: after `run`.
        states: input name → output name, as the caller pairs them.

    Raises:
        InputError: a pair of `states` does not exist or does not fit.
    """
    _check_states(work, states)
    _settle_sizes(work)
    binding, frozen, pinned = _names(work)
    rename = _final_names(work)
    nodes = _reachable(work, rename, binding)
    used = {name for node in nodes for name in node.inputs}
    outputs = {name: rename.get(_flow(value), _flow(value)) for name, value in work.outputs.items()}
    graph = Graph(
        inputs={
            name: TensorType(flow.type.dtype, substitute_shape(work.symbols.shape(flow.type.shape), binding))
            for name, flow in work.inputs.items()
        },
        outputs=outputs,
        nodes=nodes,
        constants={name: array for name, array in work.builder.constants.items() if name in used},
        states=tuple(State(name, outputs[output]) for name, output in states.items()),
        frozen=frozen,
        pinned=pinned,
        metadata=_metadata(work.model),
    )
    try:
        infer_all(graph)  # every equation that was learned must hold for all sizes that the types allow
    except InputError as error:
        raise UnsupportedError(f"{work.where}: the sizes do not fit together for every input size: {error}") from None
    return graph


def _flow(value: object) -> str:
    assert isinstance(value, Flow)
    return value.name


def _check_states(work: Importer, states: Mapping[str, str]) -> None:
    for name, output in states.items():
        if name not in work.inputs or output not in work.outputs:
            missing = f"input {name!r}" if name not in work.inputs else f"output {output!r}"
            raise InputError(
                f"states: the model has no {missing}; inputs are {', '.join(work.inputs)};"
                f" outputs are {', '.join(work.outputs)}"
            )
        before, after = work.inputs[name].type, work.outputs[output].type
        if before.dtype != after.dtype or before.rank != after.rank:
            raise InputError(f"states: {name!r} is {before} and {output!r} is {after}: a state keeps its type")
        work.symbols.where = f"the state {name!r}"
        for axis, (left, right) in enumerate(zip(before.shape, after.shape, strict=True)):
            work.symbols.same(left, right, f"axis {axis} before and after")


def _settle_sizes(work: Importer) -> None:
    """A size of the file that turned out to depend on a free dimension fixes that one."""
    for name, origin in work.symbols.origins.items():
        dim = work.symbols.resolve(symbol(name))
        if origin.size is not None and not isinstance(dim, int) and work.symbols.hint(dim) is None:
            work.symbols.where = origin.where
            try:
                work.symbols.same(dim, origin.size, "the size in the file")
            except (InputError, UnsupportedError) as error:
                raise FormatError(f"{work.where}: {origin.where}: {error}") from None


def _names(work: Importer) -> tuple[dict[str, Dim], dict[str, int], dict[str, str]]:
    """Final dimension of every free symbol; sizes that are fixed although free; reasons for the others."""
    table = work.symbols
    frozen: dict[str, int] = {}
    pinned: dict[str, str] = {}
    binding: dict[str, Dim] = {}
    time, batch = _free(work, work.axes.time), _free(work, work.axes.batch)
    if not work.axes.time and batch is None:
        batch = _leading(work)
    if not work.axes.time:
        time = _slid_over(work, batch)
    if batch == time:
        batch = None
    for name, axis in ((TIME, time), (BATCH, batch)):
        if axis is None:
            continue
        binding[axis] = symbol(name)
        origin = _origin(work, axis)
        if axis in table.hints:
            frozen[name] = table.hints[axis]
            work.report.add(
                "assumed", origin.where, name, f"fixed at {table.hints[axis]} by the file, consistent at any"
            )
        else:
            work.report.add("mapped", origin.where, name, f"dimension {origin.param or 'without a name'}")
    for name, dims in ((TIME, work.axes.time), (BATCH, work.axes.batch)):
        if (name == TIME and time is not None) or (name == BATCH and batch is not None):
            continue
        if reason := _pinned_axis(work, dims):
            pinned[name] = reason
    taken = {TIME, BATCH}
    for name, origin in table.origins.items():
        dim = table.resolve(symbol(name))
        if isinstance(dim, int):
            if origin.size is None:
                pinned[_identifier(origin, taken)] = table.why(name)
                work.report.add("assumed", origin.where, origin.param or "size", f"{dim}, because of {table.why(name)}")
            continue
        for free in sorted(symbols(dim) - set(binding)):
            mine = table.origins[free]
            if free in table.hints:
                binding[free] = table.hints[free]
            else:
                final = _identifier(origin if dim == symbol(free) else mine, taken)
                taken.add(final)
                binding[free] = symbol(final)
    return binding, frozen, pinned


def _free(work: Importer, dims: list[Dim]) -> str | None:
    """The one symbol that the first of these sizes depends on."""
    for dim in dims:
        names = symbols(work.symbols.resolve(dim))
        if len(names) == 1:
            return next(iter(names))
    return None


def _leading(work: Importer) -> str | None:
    """Without a recurrent node: the free dimension that leads every input."""
    leads = {work.symbols.resolve(flow.type.shape[0]) if flow.type.shape else None for flow in work.inputs.values()}
    lead = leads.pop() if len(leads) == 1 else None
    if not isinstance(lead, Expr) or len(symbols(lead)) != 1:
        return None
    work.report.add("assumed", "model", BATCH, "no recurrent node: the dimension that leads every input is the batch")
    return next(iter(symbols(lead)))


def _slid_over(work: Importer, batch: str | None) -> str | None:
    """Without a recurrent node: the one free size, of those that the file fixes, that convolutions slide over."""
    table, types = work.symbols, work.builder.types
    found = {
        name
        for node in work.builder.nodes
        if node.op in ("conv", "max_pool", "avg_pool")
        for dim in types[node.inputs[0]].shape[2:]
        for name in symbols(table.resolve(dim)) - {batch}
    }
    (name,) = found if len(found) == 1 else ("",)
    return name if name in table.hints else None


def _origin(work: Importer, name: str) -> Origin:
    """Where a dimension is seen: the first input axis that it is equal to."""
    table = work.symbols
    equal = (origin for other, origin in table.origins.items() if table.resolve(symbol(other)) == symbol(name))
    return next(equal, table.origins[name])


def _pinned_axis(work: Importer, dims: list[Dim]) -> str:
    """Why the sequence or batch axis of the recurrent nodes has one size, where an input gave it."""
    table = work.symbols
    sizes = {table.resolve(dim) for dim in dims}
    fixed = [(origin, table.resolve(symbol(name)), table.why(name)) for name, origin in table.origins.items()]
    candidates = [(origin, size, why) for origin, size, why in fixed if why and isinstance(size, int) and size > 1]
    equal = [entry for entry in candidates if entry[1] in sizes]
    inner = [(o, size, why) for o, size, why in candidates if o.axis < work.inputs[o.input].type.rank - 1]
    if any(isinstance(size, int) and size > 1 for size in sizes):
        for origin, size, why in equal or inner:
            return f"{origin.where} is {size}, because of {why}"
    return ""


def _identifier(origin: Origin, taken: set[str]) -> str:
    """A name for a free dimension: the file's if it is a name of its own, else input and axis."""
    base = origin.param if origin.param.isidentifier() else _clean(f"{origin.input}_{origin.axis}")
    if base in taken and base == origin.param:
        base = _clean(f"{origin.input}_{origin.axis}")
    name, count = base, 1
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    return name


def _clean(text: str) -> str:
    kept = "".join(c if c.isalnum() or c == "_" else "_" for c in text)[:40]
    return kept if kept[:1].isalpha() or kept[:1] == "_" else f"_{kept}"


def _final_names(work: Importer) -> dict[str, str]:
    """Values are called what the file calls them, where that name is free."""
    used = set(work.inputs) | set(work.builder.constants)
    rename: dict[str, str] = {}
    for value in (output for node in work.builder.nodes for output in node.outputs):
        name = work.names.get(value, value)
        if name in used:
            name = value
        while name in used:
            name = f"{name}'"
        used.add(name)
        rename[value] = name
    return rename


def _reachable(work: Importer, rename: Mapping[str, str], binding: Mapping[str, Dim]) -> tuple[Node, ...]:
    """The nodes that an output depends on, with final names and sizes."""
    needed = {_flow(value) for value in work.outputs.values()}
    kept: list[Node] = []
    for node in reversed(work.builder.nodes):
        if not needed.intersection(node.outputs):
            continue
        needed.update(node.inputs)
        inputs = tuple(rename.get(name, name) for name in node.inputs)
        outputs = tuple(rename.get(name, name) for name in node.outputs)
        attrs = {key: _bound(value, work, binding) for key, value in node.attrs.items()}
        kept.append(Node(node.op, inputs, outputs, attrs, node.name))
    return tuple(reversed(kept))


def _bound(attr: Any, work: Importer, binding: Mapping[str, Dim]) -> Attr:
    if isinstance(attr, Expr):
        return substitute(work.symbols.resolve(attr), binding)  # type: ignore[return-value]
    if isinstance(attr, tuple):
        return tuple(_bound(item, work, binding) for item in attr)  # type: ignore[return-value]
    return attr  # type: ignore[no-any-return]


def _metadata(model: ModelProto) -> dict[str, str]:
    """What the file says about itself, shortened."""
    found = {
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "name": model.graph.name,
        "description": model.doc_string,
        **{entry.key: entry.value for entry in model.metadata_props},
    }
    return {str(key)[:100]: str(value)[:4000] for key, value in list(found.items())[:100] if value}


def free_fixed_length(graph: Graph, model: ModelProto) -> Graph:
    """The graph with a length free that the file holds as a number, as `passes.reroll.free_length` does.

    Not where the file makes numbers of sizes to reckon with: what stands for a length then may be anywhere.
    """
    sizes: set[str] = set()
    for node in nodes_of(model.graph):
        if node.op_type in ("Shape", "Size"):
            sizes.update(node.output)
        elif sizes.intersection(node.input) and node.op_type in _OF_SIZES:
            if any(item.name == "to" and item.i in _REAL for item in node.attribute):
                return graph
            sizes.update(node.output)
    return free_length(graph)


_OF_SIZES = (
    *("Cast", "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Concat", "Split", "Identity"),
    *("Add", "Sub", "Mul", "Div", "Min", "Max", "ReduceProd", "ReduceSum"),
)
_REAL = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
