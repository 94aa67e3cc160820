"""Weights that PyTorch saved: .pt and .pth through `torch.load(weights_only=True)`, .safetensors without torch."""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelstm.errors import DependencyError, FormatError, UnsupportedError
from edgelstm_converters.array_book import MAX_BYTES, listing
from edgelstm_converters.arrays import MAPPED, ArraysImport, arrays_to_graph
from edgelstm_converters.safetensors_file import read_safetensors

SAFETENSORS = ".safetensors"
_ZIP = b"PK\x03\x04"  # how torch itself tells its files from others
_MAX_PICKLE = 1 << 26  # bytes of the pickle inside a .pt file, which holds names and shapes only
_STATE_DICT = (
    "in the place where the model was trained run torch.save(model.state_dict(), 'weights.pt') and load that file"
)

_QUANTIZED = (
    "the weights were quantized by PyTorch and are kept as script objects, which only PyTorch can open: where the "
    "module lives, pass the module itself to edgelstm.load(module), or save the state dict of the float model"
)
_PACKED = ("_packed_params", "_all_weight_values")  # names that quantized modules give to what they keep


def load_state_dict(path: str | os.PathLike[str], layers: Sequence[Mapping[str, Any]] | None = None) -> ArraysImport:
    """The model in a .safetensors, .pt or .pth file of weights in PyTorch's layout.

    Args:
        path: the file; its ending tells the format.
        layers: the layers, as for `arrays_to_graph`; None infers them where one reading is left.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is truncated, too large or of another format.
        UnsupportedError: the file holds a pickled module or a TorchScript program instead of weights, or weights that
            PyTorch quantized.
        DependencyError: a .pt or .pth file, and torch is not installed.
        InputError: the arrays and layers do not fit together, or leave more than one reading.
    """
    path = Path(path)
    if path.is_dir():
        raise FormatError(f"{path}: expected a file, got a folder")
    arrays: Mapping[str, Any]
    if path.suffix.lower() == SAFETENSORS:
        arrays, notes = read_safetensors(path)
        source = "safetensors arrays"
    else:
        arrays, notes = read_torch(path)
        source = "state dict arrays"
    if not arrays:
        raise FormatError(f"{path}: expected weights, found no array in it")
    made = arrays_to_graph(arrays, layers, "torch", source=source)
    return ArraysImport(made.graph, (made.report[0], *(MAPPED + note for note in notes), *made.report[1:]))


def read_torch(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Name → tensor of a file written by `torch.save`, and report lines on what was left out.

    A checkpoint that holds one state dict under a key ("state_dict", "model"...) is read through it.

    Raises:
        FormatError: the file is truncated, too large, or not one of PyTorch's.
        UnsupportedError: it holds code (a pickled module, TorchScript), or is of the form before PyTorch 1.6.
        DependencyError: torch is not installed.
    """
    _check_archive(path)
    try:
        import torch
    except ImportError:
        raise DependencyError(
            f"{path}: reading {path.suffix or 'this'} files needs torch, which is not installed: pip install "
            "'edgelstm[torch]', or save the weights as .safetensors, which needs nothing more"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_packed(path):
            raise UnsupportedError(f"{path}: {_QUANTIZED}") from None
        if "Unsupported global" in str(error) or "unsupported" in str(error).lower():
            raise UnsupportedError(
                f"{path}: expected weights only, found a pickled module or other code, which is never run: "
                f"{_STATE_DICT}"
            ) from None
        raise FormatError(f"{path}: not a whole PyTorch file: {_first_line(error)}; save it again") from None
    except Exception as error:  # noqa: BLE001  torch raises whatever its parsers meet in a damaged file
        raise FormatError(f"{path}: not a whole PyTorch file: {_first_line(error)}; save it again") from None
    return _find_state_dict(path, content)


def _check_archive(path: Path) -> None:
    """Refuses what torch would read without bounds, before torch sees it."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise FormatError(f"{path}: expected at most {MAX_BYTES} bytes, got {size}")
    with path.open("rb") as file:
        start = file.read(16)
    if start[:4] != _ZIP:
        if start[:2] == b"\x80\x02" or start[257:262] == b"ustar":
            raise UnsupportedError(
                f"{path}: this is a pickle or the file format before PyTorch 1.6, which is not read because its sizes "
                f"cannot be checked first: {_STATE_DICT}"
            )
        what = "an empty file" if not start else f"a file that starts with {start[:4]!r}"
        raise FormatError(f"{path}: expected a file that torch.save wrote, got {what} or a truncated one")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise FormatError(f"{path}: not a whole PyTorch file: {error}; save it again") from None
    if any("/code/" in entry.filename or entry.filename.endswith("constants.pkl") for entry in entries):
        raise UnsupportedError(
            f"{path}: expected weights only, found a TorchScript program, which is never run: save "
            "torch.jit.load(path).state_dict() with torch.save, or export the model to ONNX"
        )
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise FormatError(f"{path}: entry {entry.filename!r} is compressed; torch.save never compresses")
        if entry.filename.endswith(".pkl") and entry.file_size > _MAX_PICKLE:
            raise FormatError(f"{path}: expected at most {_MAX_PICKLE} bytes of names, got {entry.file_size}")
    if sum(entry.file_size for entry in entries) > size:
        raise FormatError(f"{path}: its entries claim more bytes than the file has")


def _is_packed(path: Path) -> bool:
    """Whether the pickle inside, whose size is checked, names what quantized modules keep."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, RuntimeError, struct.error):
        return False  # damaged
    return any(packed.encode() in content for content in pickles for packed in _PACKED)


def _find_state_dict(path: Path, content: Any) -> tuple[dict[str, Any], list[str]]:
    import torch

    if not isinstance(content, Mapping):
        raise UnsupportedError(f"{path}: expected a dict of tensors, got {type(content).__name__}: {_STATE_DICT}")

    def tensors(mapping: Mapping[Any, Any]) -> dict[str, Any]:
        return {key: value for key, value in mapping.items() if isinstance(key, str) and torch.is_tensor(value)}

    notes = []
    nested = {key: found for key, value in content.items() if isinstance(value, Mapping) and (found := tensors(value))}
    where: Mapping[Any, Any] = content
    if not tensors(content) and len(nested) == 1:
        ((key, _),) = nested.items()
        where = content[key]
        notes.append(f"read the state dict under the key {key!r}")
        if left := [str(other) for other in content if other != key]:
            notes.append(f"left out of the checkpoint: {listing(left, 8)}")
    elif nested:
        raise UnsupportedError(
            f"{path}: expected one state dict, found several: {listing(map(str, nested))}: save the one to run with "
            "torch.save, or pass it to from_arrays"
        )
    if any(packed in str(key) for key in where for packed in _PACKED):
        raise UnsupportedError(f"{path}: {_QUANTIZED}")
    if left := [str(key) for key, value in where.items() if not torch.is_tensor(value)]:
        notes.append(f"left out, not tensors: {listing(left, 8)}")
    return tensors(where), notes


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
