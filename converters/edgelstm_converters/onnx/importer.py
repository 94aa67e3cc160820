"""Walk the nodes of an ONNX model in order and translate each into operators of the Graph.

Every value is known, symbolic or made at run time (`values.py`). Shape arithmetic is evaluated on the
way, so that none of it is left in the Graph.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from edgelstm.errors import FormatError, InputError, UnsupportedError
from edgelstm.graph.dims import Dim
from edgelstm.graph.ir import TensorType
from edgelstm_converters.onnx import registry
from edgelstm_converters.onnx.attributes import AttrReader
from edgelstm_converters.onnx.builder import Builder
from edgelstm_converters.onnx.node import Axes, OnnxNode
from edgelstm_converters.onnx.reader import check_model, dtype_of, nodes_of, tensor_array
from edgelstm_converters.onnx.report import Report
from edgelstm_converters.onnx.symbols import Origin, Symbols
from edgelstm_converters.onnx.values import AnyArray, Flow, Known, Undecided, Value, known

MAX_TRIALS = 16  # translations of one model, to find out which branches fit


def translate(model: ModelProto, where: str, constants: Mapping[str, AnyArray], report: Report) -> Importer:
    """The finished translation of a model.

    Where a condition depends on a size that the file leaves free, both branches are tried. If the model only fits
    together where two sizes are equal, it is taken as it is there, and an `expect` in the Graph refuses other sizes.

    Raises:
        FormatError, UnsupportedError, InputError: as `Importer.run`; or a condition leaves two models.
    """
    trials = 0

    def find(choices: tuple[bool, ...]) -> tuple[bool, ...]:
        nonlocal trials
        trials += 1
        try:
            Importer(model, where, constants, Report(), choices).run()
        except ForkError as fork:
            if trials >= MAX_TRIALS:
                raise fork.refusal from None
            equal = not fork.condition.negated
            found = find((*choices, equal))
            try:
                find((*choices, not equal))
            except (FormatError, UnsupportedError):
                return found
            raise fork.refusal from None
        return choices

    work = Importer(model, where, constants, report)
    try:
        work.run()
    except ForkError:
        report.entries.clear()
        work = Importer(model, where, constants, report, find(()))
        work.run()
    return work


class ForkError(Exception):
    """A condition depends on sizes at run time, and nobody has said what to take it for."""

    def __init__(self, condition: Undecided, refusal: UnsupportedError) -> None:
        super().__init__(str(refusal))
        self.condition, self.refusal = condition, refusal


class Importer:
    """The translation of one model.

    Args:
        model: parsed, not yet checked.
        where: name of the file in messages.
        constants: input name → array: inputs to take as constants.
        report: takes the findings.
        choices: what to take conditions for that depend on sizes, in the order in which they come up.
    """

    def __init__(
        self,
        model: ModelProto,
        where: str,
        constants: Mapping[str, AnyArray],
        report: Report | None = None,
        choices: Sequence[bool] = (),
    ) -> None:
        self.model, self.where = model, where
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.symbols, self.axes = Symbols(), Axes([], [])
        self.report = Report() if report is None else report
        self.builder = Builder(self.symbols)
        self.inputs: dict[str, Flow] = {}
        self.outputs: dict[str, Value] = {}
        self.names: dict[str, str] = {}  # value of the Graph → what the file calls it
        self._constants = constants
        self._choices = list(choices)

    def run(self) -> None:
        """Translate the whole model.

        Raises:
            FormatError: the file is not valid ONNX, or its shapes contradict each other.
            UnsupportedError: an operator, attribute, dtype or shape is not honoured.
        """
        self._refuse_unknown_operators()
        check_model(self.model, self.where)
        values: dict[str, Value] = {}
        graph = self.model.graph
        initialized = {tensor.name for tensor in graph.initializer}
        if unknown := set(self._constants) - {entry.name for entry in graph.input}:
            raise InputError(f"{self.where}: no inputs called {', '.join(sorted(unknown))} to take as constants")
        for entry in graph.input:
            if entry.name in self._constants:
                values[entry.name] = self._constant(entry)
            elif entry.name in initialized:
                self.report.add(
                    "assumed", f"input {entry.name!r}", "default", "taken as the constant that the file gives"
                )
            else:
                values[entry.name] = self.inputs[entry.name] = self._input(entry)
        results = self._graph(graph, ChainMap(values))
        for entry, value in zip(graph.output, results, strict=True):
            self.outputs[entry.name] = self._shown(entry.name, value)

    def _constant(self, entry: ValueInfoProto) -> Known:
        """What the caller told for an input, of the dtype and sizes that the file declares."""
        where = f"{self.where}: the constant {entry.name!r}"
        tensor = entry.type.tensor_type
        try:
            told = np.asarray(self._constants[entry.name])
            array = told.astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{where}: expected numbers as the input declares them ({error})") from None
        real = array.dtype.kind == "f"
        if told.dtype.kind not in ("fiub" if real else "iub") or not (real or np.array_equal(array, told)):
            raise InputError(f"{where}: expected {array.dtype}, got {str(self._constants[entry.name])[:40]}")
        if tensor.HasField("shape"):
            sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
            if len(sizes) != told.ndim or any(a not in (None, b) for a, b in zip(sizes, told.shape, strict=True)):
                text = ", ".join("any" if size is None else str(size) for size in sizes)
                raise InputError(f"{where}: expected the shape ({text}), got {told.shape}")
        return known(array, entry.name)

    def _input(self, entry: ValueInfoProto) -> Flow:
        where = f"{self.where}: input {entry.name!r}"
        if not entry.type.HasField("tensor_type"):
            raise UnsupportedError(f"{where}: expected a tensor, got a {entry.type.WhichOneof('value')}")
        tensor = entry.type.tensor_type
        dtype = dtype_of(tensor.elem_type, where)
        if not tensor.HasField("shape"):
            raise UnsupportedError(f"{where}: its number of axes is not stated; export the model with a shape for it")
        dims: list[Dim] = []
        for axis, dim in enumerate(tensor.shape.dim):
            size = dim.dim_value if dim.HasField("dim_value") else None
            if size is not None and size < 1:
                raise UnsupportedError(f"{where}: axis {axis} has size {size}; expected at least 1")
            dims.append(self.symbols.new(Origin(str(entry.name), axis, str(dim.dim_param), size)))
        return self.builder.input(entry.name, TensorType(dtype, tuple(dims)))

    def _graph(self, graph: GraphProto, values: ChainMap[str, Value]) -> list[Value]:
        for tensor in graph.initializer:
            if tensor.name not in values.maps[0]:
                values[tensor.name] = known(tensor_array(tensor, self.where), tensor.name)
        for proto in graph.node:
            self._node(proto, values)
        missing = [entry.name for entry in graph.output if entry.name not in values]
        if missing:
            raise FormatError(f"{self.where}: output {missing[0]!r} of the graph is made by no node")
        return [values[entry.name] for entry in graph.output]

    def _node(self, proto: NodeProto, values: ChainMap[str, Value]) -> None:
        label = proto.name or next((name for name in proto.output if name), "")
        where = f"{self.where}: {proto.op_type} node {label!r}"
        self.symbols.where = f"{proto.op_type} node {label!r}"
        opset = self.opsets.get("", self.opsets.get("ai.onnx", 1))
        handler = registry.find(proto.domain, proto.op_type, opset)
        if handler is None:
            raise UnsupportedError(f"{where}: not supported in opset {opset}")
        if missing := [name for name in proto.input if name and name not in values]:
            raise FormatError(f"{where}: its input {missing[0]!r} is made by no node before it")
        attrs = AttrReader(proto, where, self.report)

        def inner(graph: GraphProto, given: Mapping[str, Value] | None = None) -> list[Value]:
            return self._graph(graph, values.new_child(dict(given or {})))

        inputs = [values[name] if name else None for name in proto.input]
        node = OnnxNode(
            proto,
            where,
            label,
            opset,
            self.model.producer_name,
            inputs,
            attrs,
            self.builder,
            self.symbols,
            self.report,
            self.axes,
            inner,
            self._choose,
        )
        try:
            result = handler(node)
        except InputError as error:
            raise FormatError(f"{where}: {error}") from None
        except UnsupportedError as error:
            raise UnsupportedError(str(error) if str(error).startswith(self.where) else f"{where}: {error}") from None
        except (ValueError, IndexError, OverflowError, ZeroDivisionError, MemoryError) as error:
            raise FormatError(f"{where}: its constants cannot be evaluated: {error}") from None
        attrs.finish()
        self._bind(proto, [result] if isinstance(result, (Known, Flow)) else result, values, where)

    def _bind(
        self, proto: NodeProto, results: Sequence[Value | None], values: ChainMap[str, Value], where: str
    ) -> None:
        for index, name in enumerate(proto.output):
            if not name:
                continue
            value = results[index] if index < len(results) else None
            if value is None:
                raise UnsupportedError(f"{where}: its output {name!r} (number {index}) is not supported")
            values[name] = value
            if isinstance(value, Flow):
                self.names.setdefault(value.name, name)

    def _choose(self, condition: Undecided, refusal: UnsupportedError) -> bool:
        if not self._choices:
            raise ForkError(condition, refusal)
        return self._choices.pop(0)

    def _shown(self, name: str, value: Value) -> Value:
        """An output that is an input or a constant passes through a node, so that a node makes every output."""
        self.symbols.where = f"output {name!r}"
        given = {flow.name for flow in self.inputs.values()}
        if isinstance(value, Flow) and value.name not in given:
            return value
        flow = self.builder.flow(value, name)
        if flow.name not in given and flow.name not in self.builder.constants:
            return flow
        return self.builder.emit("identity", [flow], name)[0]

    def _refuse_unknown_operators(self) -> None:
        """All at once, before anything else is looked at."""
        opset = self.opsets.get("", self.opsets.get("ai.onnx", 1))
        if opset > registry.NEWEST:
            raise UnsupportedError(
                f"{self.where}: opset {opset} is newer than {registry.NEWEST}, the newest whose operators are known;"
                " export the model with an older opset"
            )
        unknown: dict[str, str] = {}
        for proto in nodes_of(self.model.graph):
            if registry.find(proto.domain, proto.op_type, opset) is None:
                full = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
                if not proto.domain and (since := registry.versions(proto.op_type)):
                    full += f" of opset {opset} (from {min(first for first, _ in since)} on)"
                label = proto.name or next((name for name in proto.output if name), "")
                unknown.setdefault(full, label)
                self.report.add("refused", f"{proto.op_type} node {label!r}", "operator", "not supported")
        if not unknown:
            return
        listed = ", ".join(f"{op} (node {label!r})" for op, label in unknown.items())
        advice = "supported are " + ", ".join(registry.supported())
        raise UnsupportedError(f"{self.where}: unsupported operator {listed}; {advice}")
