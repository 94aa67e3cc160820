"""The arrays that a model is built from: read by name, cleaned on the way out, and counted.

Every array that a layer takes becomes a finite, contiguous float32 array; what had to be converted
is reported, and what no layer took is known, so that no weight is left out unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError

FloatArray: TypeAlias = npt.NDArray[np.float32]

MAX_BYTES = 1 << 32  # of all arrays together, as float32: far above any model for the edge
MAX_ARRAYS = 100_000
MAX_RANK = 8
_SHOWN = 8  # names listed in one report line


class ArrayBook:
    """Arrays by name, taken at most as float32 and each counted when used.

    Args:
        source: name → array: NumPy arrays, torch tensors, or anything `numpy.asarray` reads.

    Raises:
        InputError: not a mapping from names to arrays, or more and larger arrays than `MAX_ARRAYS`
            and `MAX_BYTES` allow.
    """

    def __init__(self, source: Mapping[str, Any]) -> None:
        if not isinstance(source, Mapping):
            raise InputError(f"arrays: expected a mapping from names to arrays, got {type(source).__name__}")
        if not source:
            raise InputError("arrays: expected at least one array, got an empty mapping")
        if len(source) > MAX_ARRAYS:
            raise InputError(f"arrays: expected at most {MAX_ARRAYS} arrays, got {len(source)}")
        self._source: dict[str, Any] = {}
        total = 0
        for name in source:
            if not isinstance(name, str):
                raise InputError(f"arrays: expected names that are text, got {name!r}")
            value = source[name]
            shape = getattr(value, "shape", None)
            if shape is None:
                value = _from_python(name, value)
                shape = value.shape
            total += _bytes(name, shape)
            if total > MAX_BYTES:
                raise InputError(f"arrays: expected at most {MAX_BYTES} bytes as float32, got more by array {name!r}")
            self._source[name] = value
        self._used: set[str] = set()
        self._cleaned: dict[str, FloatArray] = {}
        self._converted: dict[str, list[str]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in the order of the source."""
        return tuple(self._source)

    def __contains__(self, name: object) -> bool:
        return name in self._source

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array, without taking it."""
        return tuple(int(size) for size in self._source[name].shape)

    def take(self, name: str, where: str) -> FloatArray:
        """The array called `name` as finite float32, counted as used.

        Raises:
            InputError: there is no such array, its dtype is not a float one, or a value is NaN,
                infinite or too large for float32.
        """
        if name not in self._source:
            raise InputError(f"{where}: there is no array {name!r}; the arrays are {listing(self._source)}")
        self._used.add(name)
        if name not in self._cleaned:
            self._cleaned[name] = self.clean(name, self._source[name])
        return self._cleaned[name]

    def clean(self, name: str, value: Any) -> FloatArray:
        """`value` as finite, contiguous float32; `name` is what errors and the report call it."""
        if not hasattr(value, "shape"):
            value = _from_python(name, value)
        _bytes(name, value.shape)
        array, dtype = _numpy(name, value)
        if array.dtype.kind != "f":
            raise InputError(
                f"array {name!r}: expected float32 (or float64, float16, bfloat16), got {dtype}; "
                "scale integer weights to floats first"
            )
        with np.errstate(over="ignore"):
            result = np.array(array, dtype=np.float32, order="C")
        if not np.isfinite(result).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
            found = array[index]
            why = "too large for float32" if np.isfinite(found) else "not a finite weight"
            raise InputError(f"array {name!r}: expected finite values, got {found} at {index}, {why}")
        if dtype != "float32":
            self._converted.setdefault(dtype, []).append(name)
        result.flags.writeable = False
        return result

    def ignore(self, names: Iterable[str], where: str) -> None:
        """Counts arrays as known and left out on purpose.

        Raises:
            InputError: there is no array of such a name.
        """
        for name in names:
            if name not in self._source:
                raise InputError(f"{where}: there is no array {name!r} to leave out")
            self._used.add(name)

    def unused(self) -> list[str]:
        """Names that nothing has taken."""
        return [name for name in self._source if name not in self._used]

    def report(self) -> list[str]:
        """One line for every dtype that was converted to float32."""
        lines = []
        for dtype, names in self._converted.items():
            change = "rounded" if dtype == "float64" else "widened"
            lines.append(f"{len(names)} {dtype} arrays were {change} to float32: {listing(names, _SHOWN)}")
        return lines


def listing(names: Iterable[str], shown: int = 40) -> str:
    """Names in quotes, cut after `shown` of them."""
    names = list(names)
    text = ", ".join(repr(name) for name in names[:shown])
    return text if len(names) <= shown else f"{text} and {len(names) - shown} more"


def _bytes(name: str, shape: Iterable[Any]) -> int:
    sizes = [int(size) for size in shape]
    if len(sizes) > MAX_RANK:
        raise InputError(f"array {name!r}: expected at most {MAX_RANK} axes, got {len(sizes)}")
    count = 4 * math.prod(sizes)
    if count > MAX_BYTES:
        raise InputError(f"array {name!r}: expected at most {MAX_BYTES} bytes as float32, got {count}")
    return count


def _from_python(name: str, value: Any) -> npt.NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"array {name!r}: expected an array, got {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"array {name!r}: expected an array of numbers, got {type(value).__name__}")
    if array.dtype.kind in "iu" and not hasattr(value, "dtype"):
        array = array.astype(np.float64)  # a Python list of whole numbers
    return array.astype(np.float32) if array.dtype == np.float64 and not hasattr(value, "dtype") else array


def _numpy(name: str, value: Any) -> tuple[npt.NDArray[Any], str]:
    """The array behind `value` and the name of the dtype that it came in."""
    if isinstance(value, np.ndarray):
        if value.dtype.name == "bfloat16":  # ml_dtypes
            return value.astype(np.float32), "bfloat16"
        return value, value.dtype.name
    dtype = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
    if type(value).__module__.partition(".")[0] == "torch":
        if str(value.layout) != "torch.strided" or value.is_quantized or value.device.type == "meta":
            raise InputError(
                f"array {name!r}: expected a dense tensor of floats with values, got {value.layout} {dtype}"
            )
        value = value.detach().cpu()
        if dtype == "bfloat16":
            value = value.float()
    return np.asarray(value), dtype
