"""Arrays of a .safetensors file, without torch. The library checks the header; nothing in it is code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from edgelstm.errors import FormatError
from edgelstm_converters.array_book import MAX_BYTES, listing

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip


def read_safetensors(path: str | Path) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    """Name → array of every tensor in the file, and report lines on what was converted.

    NumPy has no bfloat16, so such tensors are widened to float32, which is exact.

    Raises:
        FormatError: the file is too large, is not a safetensors file, is truncated, or holds a dtype
            that no weight has.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise FormatError(f"{path}: expected at most {MAX_BYTES} bytes, got {size}")
    try:
        tensors = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise FormatError(f"{path}: not a whole safetensors file: {error}; save or download it again") from None
    arrays: dict[str, npt.NDArray[Any]] = {}
    widened = []
    for name, tensor in tensors:
        dtype, shape, data = tensor["dtype"], tuple(tensor["shape"]), tensor["data"]
        if dtype == "BF16":
            wide = np.frombuffer(data, "<u2").astype("<u4") << 16
            arrays[name] = wide.view("<f4").reshape(shape)
            widened.append(name)
        elif dtype in _DTYPES:
            arrays[name] = np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
        else:
            raise FormatError(f"{path}: tensor {name!r}: expected float weights, got dtype {dtype}")
    notes = [f"{len(widened)} bfloat16 arrays were widened to float32: {listing(widened, 8)}"] if widened else []
    return arrays, notes
