"""Which column of a CSV line is which number of a reading, and how predictions become columns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.errors import InputError

if TYPE_CHECKING:
    from edgelstm.graph.ir import TensorType
    from edgelstm.runtime.model import Model
    from edgelstm.runtime.stream import Stream

FEATURES = "features"  # the metadata entry with the names of a model's features: a JSON list, or one name as it is


@dataclass(frozen=True, slots=True)
class Ports:
    """What a stream takes and gives at each step: name → dtype and shape, without the axes of time and batch."""

    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]


def stream_ports(stream: Stream) -> Ports:
    """What a stream takes and gives."""
    return Ports(stream.inputs, stream.outputs)


def shape(kind: TensorType) -> tuple[int, ...]:
    """The shape of a stream's port, whose dimensions are all known."""
    return tuple(dim for dim in kind.shape if isinstance(dim, int))


def count(kind: TensorType) -> int:
    """Numbers in a value of a stream's port."""
    return math.prod(shape(kind))


def names(ports: Mapping[str, TensorType]) -> list[str]:
    """One name a number: the port's own where it holds one number, else `port[0]`, `port[1]`..."""
    return [
        name if count(kind) == 1 else f"{name}[{index}]" for name, kind in ports.items() for index in range(count(kind))
    ]


def feature_names(model: Model, ports: Ports) -> tuple[list[str], bool]:
    """Names of the numbers of a reading, and whether they may be looked for in a header.

    They may where the model tells its features or has inputs of one number each.

    Raises:
        InputError: the model's metadata tell another number of features than its inputs take.
    """
    plain = names(ports.inputs)
    told = model.metadata.get(FEATURES)
    if told is None:
        return plain, all(count(kind) == 1 for kind in ports.inputs.values())
    found = _parse_features(told)
    if len(found) != len(plain):
        raise InputError(f"the model's metadata tell {len(found)} features ({told}), its inputs take {len(plain)}")
    return found, True


def looks_like_header(fields: Sequence[str]) -> bool:
    """Whether a first line names columns: no field is empty or a number."""
    return bool(fields) and not any(_is_number(field) or not field.strip() for field in fields)


def find_columns(wanted: Sequence[str], header: Sequence[str], what: str) -> list[int]:
    """Where each wanted name stands in the header.

    Raises:
        InputError: a name is not in the header, or twice.
    """
    for name in wanted:
        if header.count(name) != 1:
            problem = "is not" if name not in header else f"stands {header.count(name)} times"
            raise InputError(
                f"{what} {name!r} {problem} in the header ({', '.join(header)}); "
                "name the columns to read, in the model's order, with --columns"
            )
    return [header.index(name) for name in wanted]


def parse_positions(wanted: Sequence[str], width: int, option: str) -> list[int]:
    """Columns given by position, from 1, where there is no header.

    Raises:
        InputError: one is no number from 1 to `width`.
    """
    for text in wanted:
        if not text.isdecimal() or not 1 <= int(text) <= width:
            raise InputError(
                f"{option}: there is no header, so expected column numbers from 1 to {width}; got {text!r}"
            )
    return [int(text) - 1 for text in wanted]


def parse_number(text: str, dtype: str, where: str) -> float | int:
    """One field of a reading; an empty one is NaN, where the dtype has one.

    Raises:
        InputError: it is not a number of the dtype.
    """
    try:
        if dtype == "float32":
            return float(text) if text.strip() else float("nan")
        return int(text)
    except ValueError:
        expected = "a number" if dtype == "float32" else "an integer"
        raise InputError(f"{where}: expected {expected}, got {text!r}") from None


def to_feeds(values: Sequence[float | int], ports: Ports) -> dict[str, Any]:
    """A reading's numbers as arrays by input name."""
    import numpy as np

    wide = {"float32": np.float64, "bool": np.bool_}  # the stream casts to its own dtype, and says what does not fit
    feeds: dict[str, Any] = {}
    start = 0
    for name, kind in ports.inputs.items():
        end = start + count(kind)
        feeds[name] = np.array(values[start:end], wide.get(kind.dtype, np.int64)).reshape(shape(kind))
        start = end
    return feeds


def to_texts(prediction: Any, ports: Ports) -> list[str]:
    """A prediction (an array, or arrays by name) as fields: the shortest text that reads back as the same number.

    Where the model gives no output at this reading (None), the fields are empty.
    """
    arrays = prediction if isinstance(prediction, Mapping) else dict.fromkeys(ports.outputs, prediction)
    texts: list[str] = []
    for name, kind in ports.outputs.items():
        array = arrays[name]
        texts += [""] * count(kind) if array is None else [str(value) for value in array.reshape(-1)]
    return texts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_features(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return [text]
    return [str(name) for name in found] if isinstance(found, list) else [text]


def read_csv(model: Model, stream: Stream, path: Path, wanted: str | None = None) -> Any:
    """The readings of a file, a line each: an array, or one for each input by name.

    Args:
        model: whose features are looked for in a header.
        stream: that takes them.
        path: of the file.
        wanted: names of columns with commas, numbers from 1 where there is no header; found by feature if None.

    Raises:
        InputError: the file or a line does not fit.
        OSError: it cannot be read.
    """
    import csv

    import numpy as np

    ports = stream_ports(stream)
    features, by_name = feature_names(model, ports)
    dtypes = [kind.dtype for kind in ports.inputs.values() for _ in range(count(kind))]
    feeds: dict[str, list[Any]] = {name: [] for name in ports.inputs}
    where: list[int] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, fields in enumerate(csv.reader(file), start=1):
            if not fields:
                continue
            if not where:
                header = looks_like_header(fields)
                if wanted:
                    given = [name.strip() for name in wanted.split(",")]
                    found = find_columns(given, fields, "--columns:") if header else None
                    where = found or parse_positions(given, len(fields), "--columns")
                elif header and by_name:
                    where = find_columns(features, fields, "the feature")
                else:
                    where = list(range(len(fields)))
                if len(where) != len(features):
                    raise InputError(
                        f"{path}: expected {len(features)} columns ({', '.join(features)}), got {len(where)}"
                    )
                if header:
                    continue
            if len(fields) <= max(where):
                raise InputError(f"{path}, line {number}: expected {max(where) + 1} columns, got {len(fields)}")
            values = [
                parse_number(fields[column], dtype, f"{path}, line {number}, column {column + 1}")
                for column, dtype in zip(where, dtypes, strict=True)
            ]
            reading = to_feeds(values, ports)
            for name, rows in feeds.items():
                rows.append(reading[name])
    arrays = {name: np.array(rows) for name, rows in feeds.items()}
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))
