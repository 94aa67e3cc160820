"""Arrays and text of an HDF5 file, and nothing else of what the format can hold.

Only hard links are followed, so that nothing outside the file is read; sizes are added up before any array is
read; an array's bytes must be in the file, apart from what gzip saves.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgelstm.errors import DependencyError, FormatError

try:
    import h5py
except ImportError:
    raise DependencyError(
        "reading a Keras file needs the package h5py, which is not installed; install edgelstm[keras]"
    ) from None

from edgelstm_converters.array_book import MAX_ARRAYS, MAX_BYTES, MAX_RANK
from edgelstm_converters.keras.hdf5_text import TextReader

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 32
MAX_EXPANSION = 100  # gzip of trained weights saves some 10 %
FREE_BYTES = 1 << 24  # below this no expansion is suspicious
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
_TEXTS = ("model_config", "keras_version", "backend", "layer_names", "weight_names")


@dataclass(slots=True)
class Content:
    """What was read.

    Attributes:
        arrays: path → array, in the order of the file.
        texts: path of a group → attribute → text or list of texts; only the attributes that Keras writes.
        groups: the paths of all groups.
    """

    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    texts: dict[str, dict[str, str | list[str]]] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)


def read_hdf5(source: Path | bytes, where: str, size: int, skip: tuple[str, ...]) -> Content:
    """The arrays of a file.

    Args:
        source: a path, or the bytes of a file.
        where: what messages call the file.
        size: bytes of the file.
        skip: groups at the top that are not read (the optimizer's).

    Raises:
        FormatError: not a whole HDF5 file, more or larger arrays than are taken, a link out of the file,
            or something that is neither array nor group.
    """
    content = Content()
    with _opened(source) as raw:
        if raw.read(len(SIGNATURE)) != SIGNATURE:
            raise FormatError(f"{where}: expected an HDF5 file; save or download it again")
    try:
        with _opened(source) as raw, h5py.File(source if isinstance(source, Path) else raw, "r") as file:
            _Reader(TextReader(raw, where, size), content).group(file, "", skip)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{where}: not a whole HDF5 file ({error}); save or download it again") from None
    return content


def _opened(source: Path | bytes) -> BinaryIO:
    return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)


class _Reader:
    def __init__(self, texts: TextReader, content: Content) -> None:
        self.texts, self.where, self.content = texts, texts.where, content
        self.room = min(MAX_BYTES, max(FREE_BYTES, MAX_EXPANSION * texts.size))
        self.seen = 0

    def group(self, group: Any, path: str, skip: tuple[str, ...] = ()) -> None:
        """Reads a group and everything below it."""
        if path.count("/") >= MAX_DEPTH:
            raise FormatError(f"{self.where}: groups more than {MAX_DEPTH} deep at {path!r}")
        self.content.groups.append(path)
        if texts := self.attributes(group):
            self.content.texts[path] = texts
        for name in group:
            if not path and name in skip:
                continue
            inner = f"{path}/{name}" if path else name
            self.seen += 1
            if self.seen > MAX_ARRAYS:
                raise FormatError(f"{self.where}: expected at most {MAX_ARRAYS} groups and arrays")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise FormatError(
                    f"{self.where}: {inner!r} is a link to another place or file; links are not followed: "
                    "save the weights in the file itself"
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                self.group(item, inner)
            elif isinstance(item, h5py.Dataset):
                self.content.arrays[inner] = self.array(item, inner)
            else:
                raise FormatError(f"{self.where}: {inner!r}: expected an array or a group, got {type(item).__name__}")

    def attributes(self, item: Any) -> dict[str, str | list[str]]:
        """The attributes that Keras writes; long lists are cut into `layer_names0`, `layer_names1`..."""
        found: dict[str, str | list[str]] = {}
        pieces: dict[str, dict[int, list[str]]] = {}
        for key, value in self.texts.attributes(h5py.h5o.get_info(item.id).addr, _TEXTS).items():
            stem = key.rstrip("0123456789")
            if key == stem:
                found[key] = value
            elif isinstance(value, list):
                pieces.setdefault(stem, {})[int(key[len(stem) :])] = value
        for stem, numbered in pieces.items():
            found.setdefault(stem, [name for number in sorted(numbered) for name in numbered[number]])
        return found

    def array(self, data: Any, path: str) -> npt.NDArray[Any]:
        """One array, after its sizes, storage and filters were looked at."""
        where = f"{self.where}: array {path!r}"
        shape, dtype = data.shape, data.dtype
        texts = self.texts.attributes(h5py.h5o.get_info(data.id).addr, ("dtype",)) if dtype.str == "|V2" else {}
        bfloat16 = texts.get("dtype") == "bfloat16"
        if shape is None or len(shape) > MAX_RANK or (dtype.kind not in "fiub" and not bfloat16):
            raise FormatError(f"{where}: expected numbers with at most {MAX_RANK} axes, got {dtype} {shape}")
        properties = data.id.get_create_plist()
        if data.is_virtual or data.external:
            raise FormatError(f"{where}: its values are in another file; save the weights in the file itself")
        codes = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
        if any(code not in _FILTERS for code in codes):
            raise FormatError(f"{where}: compressed in another way than {', '.join(_FILTERS.values())}")
        count = math.prod(shape) * dtype.itemsize
        stored = data.id.get_storage_size()
        if count > self.room:
            raise FormatError(f"{where}: with it the arrays take more bytes than a file of this size can hold")
        if data.chunks and math.prod(data.chunks) * dtype.itemsize > max(FREE_BYTES, 2 * count):
            raise FormatError(f"{where}: chunks {data.chunks} of an array {shape}")
        if stored < count and (1 not in codes or count > max(FREE_BYTES, MAX_EXPANSION * stored)):
            raise FormatError(f"{where}: expected {count} bytes, but the file holds {stored} of them")
        self.room -= count
        found: npt.NDArray[Any] = np.asarray(data[()])
        if bfloat16:
            found = (found.view("<u2").astype("<u4") << 16).view("<f4").reshape(shape)
        return found
