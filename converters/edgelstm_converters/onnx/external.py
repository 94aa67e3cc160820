"""Tensors that keep their data in another file: read where that is allowed, and only from beside the model.

A file name comes from the model, so it is not trusted: it must stay inside the model's folder, and nothing on the way
may be a link, symbolic or hard, that leads to something else.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from onnx import TensorProto

from edgelstm.errors import FormatError, UnsupportedError

MAX_BYTES = (2 << 30) - (64 << 20)  # of all tensors together: protobuf's limit, less some for the rest of the model
KEYS = ("location", "offset", "length")


def is_external(tensor: TensorProto) -> bool:
    """Whether the entries stand in another file."""
    return tensor.data_location == TensorProto.EXTERNAL or bool(tensor.external_data)


def read_external(tensors: Iterable[tuple[TensorProto, int]], path: Path) -> None:
    """Put the entries of every external tensor into the model.

    Args:
        tensors: of a model, each with the bytes of one entry; they are changed.
        path: of the model's file.

    Raises:
        FormatError: a file is missing, too short, outside the folder or a link.
        UnsupportedError: a tensor has entries that do not take whole bytes.
    """
    left = MAX_BYTES
    for tensor, width in tensors:
        if not is_external(tensor):
            continue
        where = f"{path}: tensor {tensor.name!r}"
        entries = _entries(tensor, where)
        if not width:
            raise UnsupportedError(f"{where}: this element type is not read from another file")
        needed = math.prod(tensor.dims) * width
        length = entries.get("length", needed)
        if length != needed or min(tensor.dims, default=0) < 0:
            raise FormatError(f"{where}: shape {list(tensor.dims)} needs {needed} bytes, got a length of {length}")
        left -= needed
        if left < 0:
            raise FormatError(f"{where}: the data outside the file takes over {MAX_BYTES} bytes, which is the most")
        tensor.raw_data = _read(path.parent, str(entries["location"]), int(entries.get("offset", 0)), needed, where)
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


def _entries(tensor: TensorProto, where: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for entry in tensor.external_data:
        if entry.key not in KEYS or entry.key in found:
            raise FormatError(f"{where}: says {entry.key!r} of its data; expected {', '.join(KEYS)}, each at most once")
        found[entry.key] = entry.value
        if entry.key in ("offset", "length"):
            if not (entry.value.isascii() and entry.value.isdigit()) or len(entry.value) > 18:
                raise FormatError(f"{where}: {entry.key} is {entry.value!r}, expected a number of bytes")
            found[entry.key] = int(entry.value)
    if not found.get("location"):
        raise FormatError(f"{where}: does not say in which file its data is")
    return found


def _read(folder: Path, location: str, offset: int, length: int, where: str) -> bytes:
    parts = PurePosixPath(location).parts
    plain = all(part not in ("..", "/") and "\\" not in part and ":" not in part and "\0" not in part for part in parts)
    if not plain or not parts or PurePosixPath(location).is_absolute():
        raise FormatError(f"{where}: its file {location!r} is not inside the model's folder")
    if not {os.open, os.stat} <= os.supports_dir_fd:
        raise UnsupportedError(
            f"{where}: data outside the file is not read on this system; save the model with it inside"
        )
    opened = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY)]
    try:
        for part in parts[:-1]:
            opened.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        opened.append(os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened[-1]))
        found = os.fstat(opened[-1])
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise FormatError(f"{where}: its file {location!r} is a link or no plain file; copy the file itself there")
        if offset + length > found.st_size:
            raise FormatError(f"{where}: its file {location!r} has {found.st_size} bytes, expected {offset + length}")
        with os.fdopen(os.dup(opened[-1]), "rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise FormatError(
            f"{where}: its file {location!r} cannot be opened ({error.strerror}), or is reached by a link"
        ) from None
    finally:
        for descriptor in opened:
            with suppress(OSError):
                os.close(descriptor)
