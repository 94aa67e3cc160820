"""Read an ONNX file without trusting it: sizes first, then protobuf, then onnx's own checker.

Nothing outside the file is opened unless that is asked for: see `external.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from edgelstm.errors import FormatError, InputError, UnsupportedError
from edgelstm_converters.onnx.external import is_external, read_external
from edgelstm_converters.onnx.values import AnyArray

Source: TypeAlias = "str | PathLike[str] | bytes | ModelProto"

MAX_FILE_BYTES = 2 << 30  # protobuf's own limit
MAX_NODES = 50_000  # with those of inner graphs and of functions, as often as they are called
MAX_PORTS = 4096  # inputs, and outputs
MAX_RANK = 64  # as NumPy has it
MAX_DIM = (1 << 31) - 1
MAX_DEPTH = 32

# ONNX element types that a graph can carry, and what to call the others.
DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.UINT8: "uint8",
    TensorProto.BOOL: "bool",
}
_WIDTHS: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT16: 2,
    TensorProto.INT64: 8,
    TensorProto.INT32: 4,
    TensorProto.UINT8: 1,
    TensorProto.INT8: 1,
    TensorProto.BOOL: 1,
}


def read_model(source: Source, max_bytes: int = MAX_FILE_BYTES, external_data: bool = False) -> tuple[ModelProto, str]:
    """Parse and check a model.

    Args:
        source: a path, the bytes of a file, or a model that onnx has parsed already.
        max_bytes: files larger than this are refused before they are read.
        external_data: read tensors from other files in the model's folder.

    Returns:
        The model, with local functions inlined, and the name to use for it in messages.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is empty, truncated, not ONNX or not valid ONNX.
        UnsupportedError: the model is valid, and refers to data outside itself or to unknown operators.
    """
    model: ModelProto
    if isinstance(source, ModelProto):
        model, where = source, source.graph.name or "model"
    else:
        data, where = _bytes(source, max_bytes)
        model = _parse(data, where)
    if external_data:
        if not isinstance(source, (str, PathLike)):
            raise InputError("external_data=True needs a path, beside which the data is")
        read_external(_tensors(model.graph), Path(source))
    _limits(model, where)
    _check_text(model, where)
    if model.functions:
        _check_functions(model, where)
        from onnx import inliner

        model = inliner.inline_local_functions(model)
        _limits(model, where)
    return model, where


def check_model(model: ModelProto, where: str) -> None:
    """onnx's own checker.

    Raises:
        FormatError: the checker finds a fault; its first sentence is quoted.
    """
    # The checker insists on a shape for every input and output; runtimes do not, and neither does the importer.
    shapeless = [
        entry.type.tensor_type
        for entry in (*model.graph.input, *model.graph.output)
        if entry.type.HasField("tensor_type") and not entry.type.tensor_type.HasField("shape")
    ]
    for kind in shapeless:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise FormatError(f"{where}: not a valid ONNX model: {reason}; export it again") from None
    finally:
        for kind in shapeless:
            kind.ClearField("shape")


def _bytes(source: str | PathLike[str] | bytes, max_bytes: int) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        where, size = "model", len(source)
    else:
        where = fspath(source)
        path = Path(where)
        if path.is_dir():
            raise FormatError(f"{where}: expected an ONNX file, found a folder")
        size = path.stat().st_size
    if size == 0:
        raise FormatError(f"{where}: expected an ONNX file, found an empty one; export or download it again")
    if size > max_bytes:
        raise FormatError(f"{where}: {size} bytes, at most {max_bytes} are read")
    return (source if isinstance(source, bytes) else Path(where).read_bytes()), where


def _parse(data: bytes, where: str) -> ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise FormatError(
            f"{where}: expected an ONNX model (protobuf), found {_guess(data)}; export or download it again"
        ) from None
    if not model.HasField("graph") or not model.opset_import:
        raise FormatError(f"{where}: expected an ONNX model, found protobuf without a graph or without opset versions")
    return model


def _guess(data: bytes) -> str:
    head = data[:200]
    if head.startswith(b"PK"):
        return "a zip archive (a PyTorch .pt file?)"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file (a Keras .h5 file?)"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite file"
    if b"git-lfs" in head:
        return "a Git LFS pointer"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"text that starts with {head[:30].decode()!r}"
    return "other data or a truncated file"


def nodes_of(graph: GraphProto, depth: int = 0) -> Iterator[NodeProto]:
    """Every node of a graph and of the graphs inside it.

    Raises:
        FormatError: graphs are nested too deep.
    """
    if depth > MAX_DEPTH:
        raise FormatError(f"graphs are nested more than {MAX_DEPTH} deep")
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                yield from nodes_of(inner, depth + 1)


_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _tensors(graph: GraphProto, depth: int = 0) -> Iterator[tuple[TensorProto, int]]:
    """Every tensor of a graph and of the graphs inside it, and the bytes of one entry (0: unknown)."""
    if depth > MAX_DEPTH:
        raise FormatError(f"graphs are nested more than {MAX_DEPTH} deep")
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += (attribute.t, *attribute.tensors) if attribute.type in _TENSORS else ()
            for inner in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                yield from _tensors(inner, depth + 1)
    for tensor in found:
        yield tensor, _WIDTHS.get(tensor.data_type, 0)


def _check_functions(model: ModelProto, where: str) -> None:
    """Functions are written out where they are called, which must not multiply without end.

    Raises:
        FormatError: a function calls itself, or all calls together make too many nodes.
    """
    table = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def count(nodes: Iterable[NodeProto], inside: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in inside or len(inside) > MAX_DEPTH:
                raise FormatError(f"{where}: the function {node.op_type!r} calls itself, or functions nest too deep")
            if key in table and key not in sizes:
                sizes[key] = count(_within(table[key].node), (*inside, key))
            total += sizes.get(key, 1)
            if total > MAX_NODES:
                raise FormatError(f"{where}: its functions make more than {MAX_NODES} nodes")
        return total

    count(nodes_of(model.graph), ())


def _within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                yield from nodes_of(inner, 1)


def _check_text(message: Any, where: str) -> None:
    """Protobuf gives text that is no UTF-8 as bytes, or raises where it is read.

    Raises:
        FormatError: there is such text, other than comments.
    """
    for field, value in message.ListFields():
        parts = value if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) else (value,)
        if field.message_type is not None:
            for part in parts:
                _check_text(part, where)
        elif field.type == field.TYPE_STRING and field.name != "doc_string":
            for part in parts:
                if not isinstance(part, str):
                    raise FormatError(f"{where}: {field.name} {part!r} is not text; export or download it again")


def _limits(model: ModelProto, where: str) -> None:
    for what, ports in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        if len(ports) > MAX_PORTS:
            raise FormatError(f"{where}: {len(ports)} {what}; at most {MAX_PORTS} are taken")
        for port in ports:
            _check_dims([dim.dim_value for dim in port.type.tensor_type.shape.dim], f"{where}: {port.name!r}")
    for count, node in enumerate(nodes_of(model.graph), start=1):
        if count > MAX_NODES:
            raise FormatError(f"{where}: more than {MAX_NODES} nodes")
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors) if attribute.type in _TENSORS else ():
                _check_tensor(tensor, f"{where}: node {node.name or node.op_type!r}")
            for graph in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                _check_initializers(graph, where)
    _check_initializers(model.graph, where)


_TENSORS = (AttributeProto.TENSOR, AttributeProto.TENSORS)


def _check_initializers(graph: GraphProto, where: str) -> None:
    for tensor in graph.initializer:
        _check_tensor(tensor, where)
    for sparse in graph.sparse_initializer:
        raise UnsupportedError(
            f"{where}: initializer {sparse.values.name!r} is sparse, which is not supported; save it as a dense tensor"
        )


def _check_tensor(tensor: TensorProto, where: str) -> None:
    """The entries must be there, before anything of the declared size is allocated."""
    name = f"{where}: tensor {tensor.name!r}"
    if is_external(tensor):
        raise UnsupportedError(
            f"{name} keeps its data in another file, which is not opened; save the model with its data inside:"
            " torch.onnx.export(..., external_data=False), or onnx.save_model(onnx.load(path), path); or allow files"
            " in the model's folder with external_data=True"
        )
    _check_dims(tensor.dims, name)
    width = _WIDTHS.get(tensor.data_type)
    needed = math.prod(tensor.dims) * (width or 0)
    if width and tensor.HasField("raw_data") and needed != len(tensor.raw_data):
        raise FormatError(f"{name}: shape {list(tensor.dims)} needs {needed} bytes, got {len(tensor.raw_data)}")


def _check_dims(dims: Sequence[int], name: str) -> None:
    if len(dims) > MAX_RANK:
        raise FormatError(f"{name} has {len(dims)} axes; at most {MAX_RANK} are taken")
    for size in dims:
        if not 0 <= size <= MAX_DIM:
            what = "a negative size" if size < 0 else f"a size beyond {MAX_DIM}"
            raise FormatError(f"{name} has {what}: {list(dims)}")


def tensor_array(tensor: TensorProto, where: str) -> AnyArray:
    """The entries of a tensor, read-only.

    Raises:
        FormatError: they do not fill the declared shape.
    """
    try:
        array: AnyArray = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{where}: tensor {tensor.name!r} cannot be read: {error}") from None
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array


def dtype_name(data_type: int) -> str:
    """An ONNX element type as text, for messages."""
    known: dict[int, str] = {value: key for key, value in TensorProto.DataType.items()}
    return DTYPES.get(data_type, str(known.get(data_type, data_type)).lower())


def dtype_of(data_type: int, where: str) -> str:
    """The dtype that a graph carries for an ONNX element type.

    Raises:
        UnsupportedError: a graph cannot carry it.
    """
    if data_type in DTYPES:
        return DTYPES[data_type]
    raise UnsupportedError(f"{where}: {dtype_name(data_type)} is not supported; {dtype_advice(dtype_name(data_type))}")


def dtype_advice(name: str) -> str:
    """What to do about a dtype that a graph cannot carry."""
    if name in ("float16", "double", "float64", "bfloat16"):
        return "export the model in float32 (model.float() in PyTorch)"
    return f"supported are {', '.join(DTYPES.values())}"


def attribute_value(attribute: AttributeProto) -> Any:
    """The value of an attribute; strings decoded."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], bytes):
        return [item.decode("utf-8", "replace") for item in value]
    lists = (AttributeProto.INTS, AttributeProto.FLOATS, AttributeProto.STRINGS)
    return list(value) if attribute.type in lists else value
