"""Keras files: `.keras` archives, `.weights.h5` and the older `.h5`, read as JSON and arrays only.

Nothing of Keras is imported and nothing in a file is run: no `load_model`, no pickle, no code of a Lambda layer.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm_converters.array_book import MAX_BYTES
from edgelstm_converters.keras.config import MAX_CONFIG_BYTES, brief, parse_json
from edgelstm_converters.keras.hdf5 import FREE_BYTES, MAX_EXPANSION, SIGNATURE, read_hdf5
from edgelstm_converters.keras.weights import Weights, open_weights

MAX_MEMBERS = 10_000
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_OPTIMIZER = ("optimizer", "optimizer_weights")


@dataclass(frozen=True, slots=True)
class KerasFile:
    """What a file holds.

    Attributes:
        where: what messages call it.
        weights: its arrays.
        config: the description of the model; None where the file holds weights alone.
        version: the version of Keras that wrote it, "" where the file does not say.
    """

    where: str
    weights: Weights
    config: Mapping[str, Any] | None
    version: str


def read_file(path: str | os.PathLike[str]) -> KerasFile:
    """Reads a file of any of the three kinds; its first bytes tell which.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: it is damaged, too large, or no Keras file.
        UnsupportedError: its weights are stored in a way that is not read.
    """
    path = Path(path)
    where = str(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise FormatError(f"{where}: expected at most {MAX_BYTES} bytes, got {size}")
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PK"):
        return _archive(path, where)
    if start == SIGNATURE:
        return _hdf5(path, where, size)
    raise FormatError(
        f"{where}: expected a .keras archive or an HDF5 file, got a file that starts with {start!r}: "
        "save or download it again"
    )


def read_config(config: Any, where: str) -> tuple[Mapping[str, Any], str]:
    """A description of a model that stands apart from its weights: a path, the text of `to_json()`, or a dict.

    Returns:
        The description, and the version of Keras that wrote it ("" where it does not say).
    """
    what = f"{where}: config"
    if isinstance(config, os.PathLike) or (isinstance(config, str) and not config.lstrip().startswith("{")):
        path = Path(config)
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise FormatError(f"{path}: expected at most {MAX_CONFIG_BYTES} bytes of JSON, got {path.stat().st_size}")
        config, what = path.read_bytes(), str(path)
    if isinstance(config, (str, bytes)):
        config = parse_json(config, what)
    if not isinstance(config, Mapping):
        raise FormatError(f"{what}: expected an object such as model.to_json() gives, got {brief(config)}")
    version = config.get("keras_version", "")
    return config, version if isinstance(version, str) else ""


def _archive(path: Path, where: str) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if len(infos) > MAX_MEMBERS or len(set(names)) != len(names):
                raise FormatError(f"{where}: expected at most {MAX_MEMBERS} files in the archive, each name once")
            if WEIGHTS not in names and any(name.startswith("model.weights") for name in names):
                raise UnsupportedError(
                    f"{where}: weights in several files or as .npz are not read: save with model.save() as it is"
                )
            config = parse_json(_member(archive, CONFIG, where, MAX_CONFIG_BYTES), f"{where}: {CONFIG}")
            metadata = parse_json(_member(archive, METADATA, where, MAX_CONFIG_BYTES), f"{where}: {METADATA}")
            data = _member(archive, WEIGHTS, where, MAX_BYTES)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
        raise FormatError(f"{where}: not a whole .keras archive ({error}); save or download it again") from None
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma", "_lzma"):  # their errors have no common base
            raise FormatError(f"{where}: damaged inside ({error}); save or download it again") from None
        raise
    if not isinstance(config, Mapping):
        raise FormatError(f"{where}: {CONFIG}: expected an object, got {brief(config)}")
    version = metadata.get("keras_version", "") if isinstance(metadata, Mapping) else ""
    content = read_hdf5(data, f"{where}: {WEIGHTS}", len(data), _OPTIMIZER)
    return KerasFile(where, open_weights(content, where), config, version if isinstance(version, str) else "")


def _member(archive: zipfile.ZipFile, name: str, where: str, limit: int) -> bytes:
    """One file of the archive, its size checked before and while it is read; names other than the three are ignored."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise FormatError(f"{where}: expected {name} in the archive; is this a .keras file?") from None
    if info.file_size > limit:
        raise FormatError(f"{where}: {name}: expected at most {limit} bytes, got {info.file_size}")
    if info.file_size > max(FREE_BYTES, MAX_EXPANSION * info.compress_size):
        raise FormatError(
            f"{where}: {name}: {info.compress_size} bytes would become {info.file_size}, more than weights ever do"
        )
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise FormatError(f"{where}: {name}: expected {info.file_size} bytes, got {len(data)}")
    return data


def _hdf5(path: Path, where: str, size: int) -> KerasFile:
    content = read_hdf5(path, where, size, _OPTIMIZER)
    texts = {**content.texts.get("model_weights", {}), **content.texts.get("", {})}
    text, version = texts.get("model_config"), texts.get("keras_version")
    config = None if text is None else parse_json("" if isinstance(text, list) else text, f"{where}: model_config")
    if config is not None and not isinstance(config, Mapping):
        raise FormatError(f"{where}: model_config: expected an object, got {brief(config)}")
    return KerasFile(where, open_weights(content, where), config, version if isinstance(version, str) else "")
