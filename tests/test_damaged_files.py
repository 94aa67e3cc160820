"""Files that were changed at random: what comes out is a model or one of our errors, never another exception.

Models that still load are also taken as streams, which goes through every pass and the lowering.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import edgelstm
from edgelstm.errors import EdgeLSTMError
from edgelstm.file import KEY, to_bytes
from tests.strategies import random_case

SOAK = bool(os.environ.get("EDGELSTM_SOAK"))
COUNT = 8_000 if SOAK else 250  # files of each kind
MODELS = Path(__file__).parent / "models"
ONNX = sorted(path for path in MODELS.glob("*/*.onnx") if path.stat().st_size < 5000)
ODD = (-1, 0, 1, 1 << 31, 1 << 62, 1e30, "", "T", "x", [], {}, None, True)
rng = np.random.default_rng


def bytes_changed(data: bytes, random: np.random.Generator) -> bytes:
    """A few bytes set, taken out, put in or doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        at, length = int(random.integers(len(changed) or 1)), int(random.integers(1, 9))
        kind = random.integers(5)
        if kind == 0 and changed:
            changed[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            changed[at : at + length] = random.bytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        elif random.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def places(value: object) -> list[tuple[object, object]]:
    """Every list or table in a JSON document, with an index or name in it."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in places(value[key])]


def json_changed(text: str, random: np.random.Generator) -> str:
    """Values replaced by others of the document or by odd ones, doubled or taken out."""
    content = json.loads(text)
    for _ in range(random.integers(1, 4)):
        found = places(content)
        (holder, key), (other, name) = (found[int(random.integers(len(found)))] for _ in range(2))
        kind = random.integers(4)
        if kind == 0:
            holder[key] = json.loads(json.dumps(other[name]))
        elif kind == 1:
            holder[key] = ODD[int(random.integers(len(ODD)))]
        elif kind == 2:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(holder[key])))
    return json.dumps(content)


def several(value: object) -> bool:
    """Whether a field's value is that of a repeated field."""
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))


def fields(message: object) -> list[tuple[object, object]]:
    """Every field that is set in a protobuf message and the messages in it."""
    found = []
    for field, value in message.ListFields():
        found.append((message, field))
        if field.message_type is not None:
            for part in value if several(value) else [value]:
                found += fields(part)
    return found


def proto_changed(message: object, random: np.random.Generator) -> bytes:
    """Fields set to odd values or to others of the same kind, doubled or taken out."""
    for _ in range(random.integers(1, 4)):
        found = fields(message)
        holder, field = found[int(random.integers(len(found)))]
        value = getattr(holder, field.name)
        if not several(value):
            same = [getattr(one, spec.name) for one, spec in found if spec.type == field.type]
            same = [one for one in same if not several(one)]
            odd = {field.CPPTYPE_INT64: (-1, 0, 1 << 40, 1 << 62), field.CPPTYPE_INT32: (-1, 0, 7, 1 << 30)}
            chosen = odd.get(field.cpp_type, ()) if random.random() < 0.5 else same
            if field.message_type is not None or not chosen:
                holder.ClearField(field.name)
            else:
                setattr(holder, field.name, chosen[int(random.integers(len(chosen)))])
            continue
        at = int(random.integers(len(value)))
        if random.random() < 0.5:
            del value[at]
        elif field.message_type is not None:
            value.add().CopyFrom(value[at])
        else:
            value.append(value[at])
    return message.SerializeToString()


def take(path: Path) -> bool:
    """Load a file and make a stream of it; whether both went well."""
    try:
        edgelstm.load(path).stream()
    except EdgeLSTMError:
        return False
    return True


def survive(kind: str, path: Path, changed: object) -> None:
    whole = 0
    for seed in range(COUNT):
        path.write_bytes(changed(rng(seed)))
        try:
            whole += take(path)
        except Exception as error:
            error.add_note(f"{kind}, seed {seed}")
            raise
    assert 0 < whole < COUNT  # else the changes were too weak or too strong to find anything


@pytest.fixture
def files() -> list[bytes]:
    return [to_bytes(random_case(seed, streamable=True).graph) for seed in range(20)]


def test_bytes_of_our_files(files: list[bytes], tmp_path: Path) -> None:
    survive("bytes", tmp_path / "m.edgelstm", lambda r: bytes_changed(files[int(r.integers(len(files)))], r))


def test_graphs_of_our_files(files: list[bytes], tmp_path: Path) -> None:
    documents = []
    for data in files:
        path = tmp_path / "one.edgelstm"
        path.write_bytes(data)
        with safetensors.safe_open(path, framework="np") as file:
            documents.append((file.metadata()[KEY], {name: file.get_tensor(name) for name in file.keys()}))  # noqa: SIM118

    def changed(random: np.random.Generator) -> bytes:
        text, tensors = documents[int(random.integers(len(documents)))]
        return safetensors.numpy.save(tensors, {KEY: json_changed(text, random)})

    survive("graph", tmp_path / "m.edgelstm", changed)


def test_bytes_of_onnx_files(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    data = [path.read_bytes() for path in ONNX]
    survive("bytes", tmp_path / "m.onnx", lambda r: bytes_changed(data[int(r.integers(len(data)))], r))


def test_fields_of_onnx_files(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    data = [path.read_bytes() for path in ONNX]

    def changed(random: np.random.Generator) -> bytes:
        return proto_changed(onnx.load_from_string(data[int(random.integers(len(data)))]), random)

    survive("fields", tmp_path / "m.onnx", changed)
