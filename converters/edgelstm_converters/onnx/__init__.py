"""ONNX files to Graphs.

`load_onnx` is the way in; `backend.py` offers the same to onnx's own test runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgelstm.errors import DependencyError, FormatError, UnsupportedError
from edgelstm.graph.ir import Graph

try:
    import onnx as _onnx  # noqa: F401  # named here, so that the message comes before any other import
except ImportError:
    raise DependencyError(
        "reading an ONNX file needs the package onnx, which is not installed; install edgelstm[onnx]"
    ) from None

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgelstm.passes.axes import name_axes
from edgelstm.passes.fuse import fuse_bias, fuse_padding
from edgelstm.passes.reroll import reroll
from edgelstm_converters.onnx.finish import finish, free_fixed_length
from edgelstm_converters.onnx.importer import translate
from edgelstm_converters.onnx.lint import lint_graph, lint_model
from edgelstm_converters.onnx.quantized import restore, rewrite
from edgelstm_converters.onnx.reader import MAX_FILE_BYTES, Source, read_model
from edgelstm_converters.onnx.report import Entry, Report
from edgelstm_converters.onnx.values import AnyArray


@dataclass(frozen=True, slots=True)
class ImportResult:
    """A translated model.

    Attributes:
        graph: the Graph.
        report: every attribute and dimension that was mapped or assumed.
    """

    graph: Graph
    report: Report


def load_onnx(
    source: Source,
    *,
    states: Mapping[str, str] | None = None,
    constants: Mapping[str, AnyArray] | None = None,
    max_bytes: int = MAX_FILE_BYTES,
    external_data: bool = False,
    repair: bool = False,
    report: Report | None = None,
) -> ImportResult:
    """Translate an ONNX model.

    Args:
        source: a path, the bytes of a file, or a parsed `onnx.ModelProto`.
        states: input name → output name of the state that a stream carries.
        constants: input name → array, for inputs to take as constants.
        max_bytes: larger files are refused unread.
        external_data: read tensors from other files, which must stand in the model's folder and be no links.
        repair: put exporters' known faults right, which are warned of otherwise (`lint.py`).
        report: takes the findings, so that they can be read after a refusal too, which is then the last of them.

    Returns:
        The Graph and the report. Free dimensions are the symbols T (the sequence axis of the recurrent nodes), B
        (their batch axis) and whatever else the file leaves free. `graph.frozen` holds the sizes that the file fixes
        for T and B although the graph is consistent at any; `graph.pinned` the reasons why a dimension is an integer.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is empty, truncated, not ONNX, not valid, or contradicts itself.
        UnsupportedError: an operator, attribute, value or dtype is not honoured; the message names it.
        InputError: `states` or `constants` name something that the model does not have.
    """
    report = Report() if report is None else report
    try:
        model, where = read_model(source, max_bytes, external_data)
        model = lint_model(model, report, repair)
        model, marks = rewrite(model, where)
        work = translate(model, where, constants or {}, report)
        fused = fuse_padding(fuse_bias(finish(work, states or {})))
        whole = reroll(fused, lambda layer, text: report.add("mapped", f"value {layer!r}", "layer", text))
        graph = lint_graph(name_axes(free_fixed_length(whole, model)), report, repair)
        return ImportResult(restore(graph, marks) if marks else graph, report)
    except UnsupportedError as error:
        if not any(entry.kind == "refused" for entry in report):
            report.add("refused", "model", "reason", str(error))
        raise
    except UnicodeDecodeError as error:
        raise FormatError(f"the model holds a name that is not text ({error}); export or download it again") from None
    except (AttributeError, DecodeError, KeyError, RecursionError, TypeError) as error:
        raise FormatError(f"the model cannot be read ({type(error).__name__}: {error}); export it again") from error


__all__ = ["Entry", "ImportResult", "Report", "load_onnx"]
