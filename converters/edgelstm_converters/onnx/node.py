"""What a handler is given: one ONNX node with its values and attributes, and the means to translate it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm.graph.dims import Dim, Shape
from edgelstm.graph.ir import Attr
from edgelstm_converters.onnx.attributes import AttrReader
from edgelstm_converters.onnx.builder import Builder
from edgelstm_converters.onnx.report import Report
from edgelstm_converters.onnx.symbols import Symbols
from edgelstm_converters.onnx.values import AnyArray, Flow, Known, Undecided, Value, dims, known, write_out


@dataclass(slots=True)
class Axes:
    """Sizes that reached the sequence axis and the batch axis of recurrent nodes."""

    time: list[Dim]
    batch: list[Dim]


@dataclass(slots=True)
class OnnxNode:
    """One node being translated.

    Attributes:
        proto: the node of the file.
        where: how messages name it.
        name: what nodes of the Graph are called.
        opset: version of the default operator set.
        producer: the tool that wrote the file.
        inputs: its values; None where absent.
        attrs: its attributes.
        axes: recurrent nodes note their sequence and batch sizes here.
        inner: translates a graph inside an attribute, with values for its inputs, and gives its outputs.
        choose: says what to take a condition for that depends on sizes at run time; the error is what to refuse with.
    """

    proto: NodeProto
    where: str
    name: str
    opset: int
    producer: str
    inputs: list[Value | None]
    attrs: AttrReader
    builder: Builder
    symbols: Symbols
    report: Report
    axes: Axes
    inner: Callable[..., list[Value]]
    choose: Callable[[Undecided, UnsupportedError], bool]

    @property
    def op_type(self) -> str:
        """The ONNX operator."""
        return self.proto.op_type

    @property
    def wanted(self) -> list[bool]:
        """Which outputs the file uses."""
        return [bool(name) for name in self.proto.output]

    def optional(self, index: int) -> Value | None:
        """An input that may be absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def input(self, index: int) -> Value:
        """A required input."""
        value = self.optional(index)
        if value is None:
            raise FormatError(f"{self.where}: input {index} is required and absent")
        return value

    def shape(self, value: Value) -> Shape:
        """The shape of a value, with everything that is known put in."""
        return self.symbols.shape(value.type.shape)

    def rank(self, value: Value) -> int:
        """Number of axes."""
        return len(value.type.shape)

    def number(self, dim: Dim, what: str) -> int:
        """A size that must be a number; one that the file fixes becomes exact."""
        size = dim if isinstance(dim, int) else self.symbols.pin(dim, what)
        if size is None:
            raise self.refuse(f"{what}: the size {dim} is only known at run time; export the model with it fixed")
        return size

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            raise FormatError(f"{self.where}: axis {axis} is outside a tensor of {rank} axes")
        return axis % rank

    def constant(self, index: int, what: str) -> AnyArray | None:
        """An input that must be known before anything runs, written out; None where absent."""
        value = self.optional(index)
        if value is None:
            return None
        whole = write_out(value, self.symbols) if isinstance(value, Known) else None
        if whole is None:
            raise UnsupportedError(
                f"{self.where}: {what} is computed at run time; expected a constant: make it an initializer of the file"
            )
        return whole

    def sizes(self, index: int, what: str) -> list[Dim] | None:
        """An input that is a list of sizes, symbolic or not; None where absent."""
        value = self.optional(index)
        if value is None:
            return None
        if not isinstance(value, Known) or len(value.shape) > 1 or value.dtype not in ("int64", "int32"):
            raise UnsupportedError(
                f"{self.where}: {what} is not a list of sizes that follows from the shapes of the inputs;"
                " data that decides on shapes is not supported"
            )
        return [self.symbols.resolve(dim) for dim in dims(value)]

    def ints(self, index: int, what: str) -> list[int] | None:
        """An input that is a list of integers; None where absent."""
        sizes = self.sizes(index, what)
        if sizes is None:
            return None
        whole = [size for size in sizes if isinstance(size, int)]
        if len(whole) < len(sizes):
            raise UnsupportedError(f"{self.where}: {what} depends on sizes at run time: {', '.join(map(str, sizes))}")
        return whole

    def emit(self, op: str, *inputs: Value | None, **attrs: Attr) -> Value:
        """The first output of an operator of the Graph."""
        return self.emit_all(op, inputs, **attrs)[0]

    def emit_all(self, op: str, inputs: Sequence[Value | None], **attrs: Attr) -> list[Value]:
        """All outputs of an operator of the Graph."""
        return self.builder.emit(op, inputs, self.name, **attrs)

    def reshape(self, value: Value, shape: Sequence[Dim]) -> Value:
        """The value in another shape; itself where the shape is the same."""
        target = tuple(shape)
        return value if target == self.shape(value) else self.emit("reshape", value, shape=target)

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        """The value with its axes permuted; itself where they stay."""
        return value if list(perm) == sorted(perm) else self.emit("transpose", value, perm=tuple(perm))

    def slice(self, value: Value, axis: int, start: Dim, stop: Dim, step: int = 1) -> Value:
        """Part of one axis; itself where it is the whole axis."""
        if step == 1 and start == 0 and stop == self.shape(value)[axis]:
            return value
        return self.emit("slice", value, axes=(axis,), starts=(start,), stops=(stop,), steps=(step,))

    def expect(self, value: Value, given: Dim, wanted: Dim) -> Value:
        """The value, right only where two sizes are equal: other sizes are refused when the model is run."""
        given = self.symbols.resolve(given)
        self.assume("sizes", f"{given} is {wanted}; other sizes are refused at run time")
        return self.emit("expect", value, given=(given,), wanted=(wanted,))

    def scalar(self, number: float, like: Value) -> Known:
        """A 0-d constant of a value's dtype."""
        return known(np.asarray(number, like.type.dtype))

    def refuse(self, text: str) -> UnsupportedError:
        """An error that names this node."""
        return UnsupportedError(f"{self.where}: {text}")

    def assume(self, subject: str, text: str) -> None:
        """Note something that the file does not say."""
        self.report.add("assumed", self.where, subject, text)

    def is_float(self, value: Value) -> bool:
        """Whether a value holds float32."""
        return value.type.dtype == "float32"


__all__ = ["Axes", "Flow", "OnnxNode"]
