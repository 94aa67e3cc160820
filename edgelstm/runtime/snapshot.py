"""A stream's state as bytes: one format for every executor and CPU, stamped with the model's hash.

The bytes are a safetensors file: one tensor a state, float32 bits as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from edgelstm.errors import StateError
from edgelstm.graph.ir import Array

KEY = "edgelstm-state"
VERSION = 1


def pack(model_hash: str, states: Mapping[str, Array]) -> bytes:
    """States by name as bytes."""
    stamp = json.dumps({"version": VERSION, "model": model_hash})
    return safetensors.numpy.save({name: np.asarray(value, order="C") for name, value in states.items()}, {KEY: stamp})


def unpack(
    blob: bytes, model_hash: str, expected: Mapping[str, Array], optional: Mapping[str, Array]
) -> dict[str, Array]:
    """The states of a snapshot of this very model; `optional` ones may be there, all or none.

    Raises:
        StateError: not a snapshot, of another version or model, or with other states.
    """
    if not isinstance(blob, (bytes, bytearray, memoryview)):
        raise StateError(f"a snapshot is bytes, got {type(blob).__name__}")
    stamp, states = read(bytes(blob))
    if stamp.get("version") != VERSION:
        raise StateError(f"snapshot version {stamp.get('version')!r}; this release reads {VERSION}")
    if stamp.get("model") != model_hash:
        raise StateError(
            f"this snapshot belongs to the model {str(stamp.get('model'))[:16]}, "
            f"the stream runs {model_hash[:16]}: restore it into a stream of its own model"
        )
    found = {name: (value.dtype, value.shape) for name, value in states.items()}
    wanted = {name: (value.dtype, value.shape) for name, value in expected.items()}
    extra = {name: (value.dtype, value.shape) for name, value in optional.items()}
    if found not in (wanted, {**wanted, **extra}):
        raise StateError(f"this snapshot holds {found}; expected {wanted}")
    return states


def read(blob: bytes) -> tuple[dict[str, object], dict[str, Array]]:
    """The stamp and the states of a snapshot of any model.

    Raises:
        StateError: not a snapshot.
    """
    try:
        states = safetensors.numpy.load(blob)
        length = int.from_bytes(blob[:8], "little")
        stamp = json.loads(blob[8 : 8 + length])["__metadata__"][KEY]
        return dict(json.loads(stamp)), states
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"these bytes are not a whole snapshot of a stream ({error})") from None
