"""Which ONNX operators are translated, by which handler, from which opset version on."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from edgelstm_converters.onnx.values import Value

if TYPE_CHECKING:
    from edgelstm_converters.onnx.node import OnnxNode

Result: TypeAlias = "Value | Sequence[Value | None]"
Handler: TypeAlias = "Callable[[OnnxNode], Result]"


@dataclass(frozen=True, slots=True)
class Entry:
    """A handler for the versions `since` to `until` of an operator."""

    since: int
    until: int
    handler: Handler


_HANDLERS: dict[str, list[Entry]] = {}
FOREVER = 1 << 30
NEWEST = 28  # the newest opset that the handlers were written for; a later one may change what an operator means


def handles(*op_types: str, since: int = 1, until: int = FOREVER) -> Callable[[Handler], Handler]:
    """Register a handler for operators of the default ONNX domain."""

    def register(handler: Handler) -> Handler:
        for op_type in op_types:
            _HANDLERS.setdefault(op_type, []).append(Entry(since, until, handler))
        return handler

    return register


def find(domain: str, op_type: str, opset: int) -> Handler | None:
    """The handler of an operator, or None where it is not translated."""
    _load()
    if domain not in ("", "ai.onnx"):
        return None
    return next((e.handler for e in _HANDLERS.get(op_type, ()) if e.since <= opset <= e.until), None)


def supported() -> list[str]:
    """Names of the operators that are translated."""
    _load()
    return sorted(_HANDLERS)


def versions(op_type: str) -> list[tuple[int, int]]:
    """The spans of opset versions in which an operator is translated."""
    _load()
    return [(entry.since, entry.until) for entry in _HANDLERS.get(op_type, ())]


def _load() -> None:
    if not _HANDLERS:
        from edgelstm_converters.onnx import ops

        for module in pkgutil.iter_modules(ops.__path__):
            import_module(f"{ops.__name__}.{module.name}")
