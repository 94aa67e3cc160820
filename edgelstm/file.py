"""Read and write `.edgelstm` files: a safetensors file whose metadata holds the graph. See FORMAT.md."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from edgelstm.errors import EdgeLSTMError, FormatError
from edgelstm.graph.check import DIMS, KINDS, check
from edgelstm.graph.dims import parse
from edgelstm.graph.ir import Array, Graph, Node, State, TensorType

KEY = "edgelstm"  # the one metadata entry: with several, their order in the file would be left to chance
VERSION = 1
MAX_FILE_BYTES = 1 << 31
MAX_GRAPH_CHARACTERS = 16 << 20
FIELDS = ("inputs", "outputs", "nodes", "states", "initial", "frozen", "pinned", "metadata")
SCALES = "scales"  # a field of graphs with int8 constants alone
NODE_FIELDS = ("op", "name", "inputs", "outputs", "attrs")


def to_bytes(graph: Graph) -> bytes:
    """A graph as the bytes of a file; equal graphs give equal bytes."""
    content: dict[str, Any] = {"version": VERSION, "graph": _graph_to_json(graph)}
    tensors = {name: np.asarray(array, order="C") for name, array in sorted(graph.constants.items())}
    if graph.scales:
        content["graph"][SCALES] = names = {name: _free(f"{name}:scale", tensors) for name in sorted(graph.scales)}
        tensors |= {names[name]: np.asarray(scale, order="C") for name, scale in sorted(graph.scales.items())}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return safetensors.numpy.save(tensors, {KEY: text})


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a graph; a crash leaves the old file or the new one, never a part.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_atomically(Path(path), to_bytes(graph))


def load(path: str | os.PathLike[str]) -> Graph:
    """Read a graph.

    Raises:
        FormatError: the file is not a whole `.edgelstm` file of a known version.
        OSError: the file cannot be opened.
    """
    size = Path(path).stat().st_size
    if size > MAX_FILE_BYTES:
        raise FormatError(f"{path}: {size} bytes; at most {MAX_FILE_BYTES} are read")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise FormatError(f"{path}: a safetensors file without an edgelstm graph; expected one made by convert")
            constants = {name: _tensor(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        if isinstance(error, EdgeLSTMError):
            raise
        raise FormatError(f"{path}: not a whole .edgelstm file ({error})") from None
    try:
        graph = _graph_from_json(_parse(text), constants)
        check(graph)
    except KeyError as error:
        raise FormatError(f"{path}: the graph is damaged (it has no {error})") from None
    except (TypeError, ValueError, AttributeError, IndexError, RecursionError, EdgeLSTMError) as error:
        raise FormatError(f"{path}: the graph is damaged ({error})") from None
    return graph


def write_atomically(path: Path, data: bytes) -> None:
    """Write by temporary file, fsync and rename.

    Raises:
        OSError: the folder cannot be written to.
    """
    import tempfile  # takes milliseconds, which a device that only reads need not wait for

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # what open() gives; mkstemp's files are private
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _graph_to_json(graph: Graph) -> dict[str, Any]:
    return {
        "inputs": [[name, kind.dtype, [_plain(dim) for dim in kind.shape]] for name, kind in graph.inputs.items()],
        "outputs": [list(pair) for pair in graph.outputs.items()],
        "nodes": [
            {
                "op": node.op,
                "name": node.name,
                "inputs": list(node.inputs),
                "outputs": list(node.outputs),
                "attrs": {key: _plain(value) for key, value in node.attrs.items()},
            }
            for node in graph.nodes
        ],
        "states": [[state.input, state.output, state.how] for state in graph.states],
        "initial": dict(graph.initial),
        "frozen": dict(graph.frozen),
        "pinned": dict(graph.pinned),
        "metadata": dict(graph.metadata),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, (int, float, str)) else str(value)


def _parse(text: str) -> dict[str, Any]:
    if len(text) > MAX_GRAPH_CHARACTERS:
        raise FormatError(f"{len(text)} characters; at most {MAX_GRAPH_CHARACTERS} are read")
    content = json.loads(text, object_pairs_hook=_table)
    version = content["version"]
    if type(version) is not int or version != VERSION:
        raise FormatError(f"format version {version!r}; this release reads {VERSION}")
    return _fields(content["graph"], (*FIELDS, SCALES), "the graph")


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "'"
    return name


def _table(pairs: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Pairs of a name and what it names, each name once."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if _text(name) in found:
            raise FormatError(f"{name!r} is named twice")
        found[name] = value
    return found


def _fields(value: Any, names: tuple[str, ...], what: str) -> dict[str, Any]:
    if unknown := set(value) - set(names):
        raise FormatError(f"{what} has the unknown field {min(unknown)!r}; known: {', '.join(names)}")
    return dict(value)


def _graph_from_json(data: dict[str, Any], constants: dict[str, Any]) -> Graph:
    tensors = {_text(name): _text(tensor) for name, tensor in data.get(SCALES, {}).items()}
    if len(set(tensors.values())) < len(tensors):
        raise FormatError("two constants name one tensor as their scales")
    scales = {name: constants.pop(tensor) for name, tensor in tensors.items()}
    return Graph(
        inputs=_table((name, TensorType(_text(dtype), _dims(shape))) for name, dtype, shape in data["inputs"]),
        outputs=_table((name, _text(value)) for name, value in data["outputs"]),
        nodes=tuple(_node(item) for item in data["nodes"]),
        constants=constants,
        states=tuple(State(_text(before), _text(after), _text(how)) for before, after, how in data["states"]),
        initial={_text(key): _text(value) for key, value in data["initial"].items()},
        frozen={_text(key): _size(value) for key, value in data["frozen"].items()},
        pinned={_text(key): _text(value) for key, value in data["pinned"].items()},
        metadata={_text(key): _text(value) for key, value in data["metadata"].items()},
        scales=scales,
    )


def _node(item: dict[str, Any]) -> Node:
    item = _fields(item, NODE_FIELDS, "a node")
    attrs = {_text(key): _attribute(key, value) for key, value in item["attrs"].items()}
    names = [tuple(_text(name) for name in item[key]) for key in ("inputs", "outputs")]
    return Node(_text(item["op"]), names[0], names[1], attrs, _text(item["name"]))


def _attribute(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return _dims(value) if KINDS.get(key) == DIMS else tuple(value)
    return value


def _dims(values: list[Any]) -> tuple[Any, ...]:
    if not isinstance(values, list) or any(type(value) not in (int, str) for value in values):
        raise FormatError(f"{values} is not a shape")
    return tuple(parse(value) for value in values)


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise FormatError(f"frozen: expected a size, got {value!r}")
    return value


def _tensor(array: Array) -> Array:
    """A constant: read-only, and true for any byte but 0 where it is boolean."""
    array = np.asarray(array.view(np.uint8) != 0) if array.dtype == np.bool_ else array
    array.flags.writeable = False
    return array


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise FormatError(f"expected text, got {value!r}")
    return value
