"""Attributes of a node, read once and remembered: what nobody reads is refused, never ignored."""

from __future__ import annotations

from typing import Any, TypeVar

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm_converters.onnx.reader import attribute_value
from edgelstm_converters.onnx.report import Report

T = TypeVar("T")
_KINDS: dict[int, str] = {value: key.lower() for key, value in AttributeProto.AttributeType.items()}


class AttrReader:
    """The attributes of one node.

    Args:
        node: the node.
        where: how messages name it.
        report: told what was mapped and what was assumed.
    """

    def __init__(self, node: NodeProto, where: str, report: Report) -> None:
        self.where = where
        self._report = report
        self._found = {attribute.name: attribute for attribute in node.attribute}
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer; required where there is no default."""
        return int(self._get(name, AttributeProto.INT, default))

    def number(self, name: str, default: float | None = None) -> float:
        """A float; required where there is no default."""
        return float(self._get(name, AttributeProto.FLOAT, default))

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required where there is no default."""
        return str(self._get(name, AttributeProto.STRING, default))

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Integers; required where there is no default."""
        return tuple(self._get(name, AttributeProto.INTS, default))

    def numbers(self, name: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """Floats; required where there is no default."""
        return tuple(self._get(name, AttributeProto.FLOATS, default))

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Strings; required where there is no default."""
        return tuple(self._get(name, AttributeProto.STRINGS, default))

    def tensor(self, name: str) -> TensorProto:
        """A tensor; required."""
        value: TensorProto = self._get(name, AttributeProto.TENSOR, None)
        return value

    def graph(self, name: str) -> GraphProto:
        """A graph; required."""
        value: GraphProto = self._get(name, AttributeProto.GRAPH, None)
        return value

    def only(self, name: str, expected: Any, meaning: str) -> None:
        """An attribute of which one value is honoured, its default.

        Raises:
            UnsupportedError: it has another value; `meaning` says what that would ask for.
        """
        if name not in self._found:
            return
        value = attribute_value(self._found[name])
        self._read.add(name)
        if value != expected:
            raise UnsupportedError(
                f"{self.where}: attribute {name}={_short(value)} is not supported ({meaning}); expected {expected!r}"
            )

    def ignore(self, name: str, reason: str) -> None:
        """An attribute that cannot change the result."""
        if name in self._found:
            self._read.add(name)
            self._report.add("mapped", self.where, name, f"has no effect here: {reason}")

    def finish(self) -> None:
        """After translation.

        Raises:
            UnsupportedError: an attribute was read by nobody.
        """
        for name, attribute in self._found.items():
            if name not in self._read:
                raise UnsupportedError(
                    f"{self.where}: unknown attribute {name}={_short(attribute_value(attribute))};"
                    " it might change the result, so the model is refused: remove it, or report it"
                )

    def _get(self, name: str, kind: int, default: Any) -> Any:
        self._read.add(name)
        if name not in self._found:
            if default is None:
                raise FormatError(f"{self.where}: the required attribute {name} is missing")
            self._report.add("assumed", self.where, name, f"{_short(default)}, the default")
            return default
        attribute = self._found[name]
        if attribute.ref_attr_name:
            raise UnsupportedError(
                f"{self.where}: attribute {name} refers to a function's attribute, which is not supported"
            )
        if attribute.type != kind:
            raise FormatError(
                f"{self.where}: attribute {name}: expected {_KINDS[kind]}, got {_KINDS.get(attribute.type, 'nothing')}"
            )
        value = attribute_value(attribute)
        if kind not in (AttributeProto.TENSOR, AttributeProto.GRAPH):
            self._report.add("mapped", self.where, name, _short(value))
        return value


def _short(value: Any) -> str:
    text = repr(list(value)) if isinstance(value, (list, tuple)) else repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
