"""The Graph under construction: adds a node where a value is made at run time, folds where it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgelstm.errors import UnsupportedError
from edgelstm.graph.dims import Expr, Shape
from edgelstm.graph.ir import DTYPES, Array, Attr, Node, TensorType
from edgelstm.graph.ops import OPS, infer, make_node
from edgelstm.graph.shapes import broadcast_shapes
from edgelstm_converters.onnx.folding import fold
from edgelstm_converters.onnx.reader import MAX_NODES, MAX_RANK, dtype_advice
from edgelstm_converters.onnx.symbols import Symbols
from edgelstm_converters.onnx.values import AnyArray, Flow, Known, Value, check_elements, uniform, write_out

_BROADCASTING = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "maximum",
    "minimum",
    "equal",
    "less",
    "greater",
    "and",
    "or",
    "where",
)


class Builder:
    """Nodes and constants of one import.

    Attributes:
        nodes: in order.
        constants: name → read-only array.
        types: value made at run time → its type, as it was known when it was made.
    """

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.types: dict[str, TensorType] = {}
        self._ids: dict[int, str] = {}
        self._kept: list[AnyArray] = []  # keeps the ids above alive
        self._names: set[str] = set()

    def fresh(self, name: str) -> str:
        """A value name that nothing has yet."""
        candidate, count = name or "value", 1
        while candidate in self._names:
            candidate, count = f"{name}:{count}", count + 1
        self._names.add(candidate)
        return candidate

    def emit(self, op: str, inputs: Sequence[Value | None], name: str, **attrs: Attr) -> list[Value]:
        """All outputs of an operator on values of either kind.

        Args:
            op: an operator of the Graph.
            inputs: None where an optional one is absent.
            name: what the user's file calls the node.
            attrs: the attributes that differ from the defaults.

        Raises:
            InputError: the inputs do not fit the operator.
            UnsupportedError: a dtype or a symbolic size that the operator cannot take.
        """
        outputs = [f"{name}/{role}" for role in OPS[op].outputs]
        node = make_node(
            op, ["" if value is None else str(k) for k, value in enumerate(inputs)], outputs, name, **attrs
        )
        known = [value for value in inputs if isinstance(value, Known)]
        if len(known) == sum(value is not None for value in inputs):
            folded = fold(node, [value if isinstance(value, Known) else None for value in inputs], self.symbols)
            if folded is not None:
                return list(folded)
        names, types = self._operands(op, inputs, name)
        padded = [*types, *[None] * (len(node.inputs) - len(types))] if OPS[op].inputs != ("*",) else types
        results = infer(node, padded, self.symbols.same)
        for kind in results:
            if kind.rank > MAX_RANK:
                raise UnsupportedError(f"{name}: {kind.rank} axes; at most {MAX_RANK} are taken")
        if len(self.nodes) >= MAX_NODES:
            raise UnsupportedError(f"{name}: the model takes more than {MAX_NODES} nodes")
        outputs = [self.fresh(output) for output in outputs]
        self.nodes.append(make_node(op, names, outputs, name, **attrs))
        self.types.update(zip(outputs, results, strict=True))
        return [Flow(output, kind) for output, kind in zip(outputs, results, strict=True)]

    def flow(self, value: Value, name: str) -> Flow:
        """The value as one that a node can take: known ones become constants, repeated where need be."""
        if isinstance(value, Flow):
            return value
        if (whole := write_out(value, self.symbols)) is not None:
            return Flow(self.constant(whole, value.name or name), TensorType(whole.dtype.name, whole.shape))
        if value.symbolic and (fixed := self._fixed(value)) is not None:
            return self.flow(fixed, name)
        if value.symbolic:
            raise UnsupportedError(
                f"{name}: a size that is only known at run time ({self._show(value)}) cannot be used as data;"
                " export the model with fixed sizes there"
            )
        shape = self.symbols.shape(value.shape)
        base = Flow(self.constant(value.array, value.name or name), TensorType(value.dtype, value.array.shape))
        return self._node("broadcast", [base], name, TensorType(value.dtype, shape), shape=shape)

    def input(self, name: str, kind: TensorType) -> Flow:
        """A value that no node makes."""
        flow = Flow(self.fresh(name), kind)
        self.types[flow.name] = kind
        return flow

    def adopt(self, nodes: Sequence[Node], constants: Mapping[str, Array], types: Mapping[str, TensorType]) -> None:
        """Take up nodes that were written elsewhere, under names of `fresh`."""
        self.nodes += nodes
        self.constants |= constants
        self.types |= {name: types[name] for node in nodes for name in node.outputs if name}

    def constant(self, array: AnyArray, name: str) -> str:
        """The name of a constant; the same array is kept once.

        Raises:
            UnsupportedError: a Graph cannot hold its dtype.
        """
        if array.dtype.name not in DTYPES:
            raise UnsupportedError(
                f"constant {name!r} is {array.dtype.name}, which is not supported; {dtype_advice(array.dtype.name)}"
            )
        key = id(array)
        if key not in self._ids:
            self._kept.append(array)
            self._ids[key] = self.fresh(name)
            kept = np.ascontiguousarray(array).reshape(array.shape)
            kept.flags.writeable = False
            self.constants[self._ids[key]] = kept
        return self._ids[key]

    def _fixed(self, value: Known) -> Known | None:
        """Sizes as numbers, where the file fixes all of them; they become exact."""
        entries = [
            self.symbols.pin(entry, "its use as data") if isinstance(entry, Expr) else entry
            for entry in value.array.flat
        ]
        if not all(isinstance(entry, int) for entry in entries):
            return None
        return Known(np.asarray(entries, value.dtype).reshape(value.array.shape), value.dtype, value.shape, value.name)

    def _node(self, op: str, inputs: Sequence[Flow], name: str, kind: TensorType, **attrs: Attr) -> Flow:
        output = self.fresh(f"{name}/{op}")
        self.nodes.append(make_node(op, [value.name for value in inputs], [output], name, **attrs))
        self.types[output] = kind
        return Flow(output, kind)

    def _operands(
        self, op: str, inputs: Sequence[Value | None], name: str
    ) -> tuple[list[str], list[TensorType | None]]:
        """Names and types of the inputs; a constant that NumPy broadcasting repeats anyway is not written out."""
        given = [value for value in inputs if value is not None]
        shapes = [self.symbols.shape(value.type.shape) for value in given]
        small: dict[int, Known] = {}
        if op in _BROADCASTING:
            full = self.symbols.shape(
                broadcast_shapes([self._collapsed(v, shapes).shape for v in given], self.symbols.same)
            )
            small = {id(v): self._collapsed(v, shapes) for v in given if isinstance(v, Known) and not v.symbolic}
            compact = [small[id(v)].array.shape if id(v) in small else v.type.shape for v in given]
            if self.symbols.shape(broadcast_shapes(compact, self.symbols.same)) != full:
                small = {}
        flows: list[Flow | None] = []
        for index, value in enumerate(inputs):
            if value is not None and id(value) in small:
                array = small[id(value)].array
                check_elements(array.shape, array.size)
                label = value.name if isinstance(value, Known) else ""
                constant = self.constant(array, label or f"{name}/input{index}")
                flows.append(Flow(constant, TensorType(array.dtype.name, array.shape)))
            else:
                flows.append(None if value is None else self.flow(value, f"{name}/input{index}"))
        types = [
            None if flow is None else TensorType(flow.type.dtype, self.symbols.shape(flow.type.shape)) for flow in flows
        ]
        return ["" if flow is None else flow.name for flow in flows], types

    def _collapsed(self, value: Value, shapes: Sequence[Shape]) -> Known:
        """A constant that is the same along an axis where the others are symbolic needs no size there."""
        if isinstance(value, Flow) or value.symbolic:
            return Known(np.zeros(0), value.type.dtype, self.symbols.shape(value.type.shape))
        array, shape = value.array, list(self.symbols.shape(value.shape))
        for axis in range(array.ndim):
            back = axis - array.ndim
            others = [other[back] for other in shapes if -back <= len(other)]
            symbolic = next((dim for dim in others if not isinstance(dim, int)), None)
            if array.shape[axis] == 1 or symbolic is None or not uniform(array, axis):
                continue
            if self.symbols.hint(symbolic) in (None, array.shape[axis]):
                array, shape[axis] = array.take([0], axis), 1
        return Known(array, value.dtype, tuple(shape), value.name)

    def _show(self, value: Known) -> str:
        return ", ".join(map(str, list(value.array.flat)[:4]))
