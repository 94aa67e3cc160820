"""A layer's part of config.json: read key by key, so that nothing in it goes unheard."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgelstm.errors import FormatError, UnsupportedError

MAX_CONFIG_BYTES = 1 << 24
MAX_DEPTH = 100
MAX_NAME = 200
MAX_SIZE = 1 << 24  # of one axis
MAX_WINDOW = 1 << 16  # of kernels, pools, paddings and repetitions
MASK_OPERATIONS = ("NotEqual", "Any")  # what Keras 3 writes beside a layer that makes a mask
_SHOWN = 80  # characters of a value in an error message

# What plays no part once a model is trained.
_TRAINING = re.compile(r"(initializer|regularizer|constraint)$")
_INERT = ("name", "trainable", "seed", "batch_input_shape", "batch_shape", "input_shape", "input_dtype")
_KERAS = re.compile(r"^(keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.|$)")
_COMPUTED = ("float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


def parse_json(text: bytes | str, where: str) -> Any:
    """JSON of bounded size and depth.

    Raises:
        FormatError: it is too long, nested too deeply or not JSON.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise FormatError(f"{where}: expected at most {MAX_CONFIG_BYTES} bytes of JSON, got {len(text)}")
    try:
        data = json.loads(text)
    except RecursionError:
        raise FormatError(f"{where}: nested more than {MAX_DEPTH} levels deep; save the model again") from None
    except ValueError as error:  # also UnicodeDecodeError
        raise FormatError(f"{where}: not JSON ({error}); save or download the file again") from None
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise FormatError(f"{where}: nested more than {MAX_DEPTH} levels deep; save the model again")
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return data


@dataclass(slots=True)
class Layer:
    """One layer of a model, as its file describes it.

    Reading a key counts it; `finish` refuses every other key that is set.

    Attributes:
        kind: the class, such as "LSTM".
        name: the layer's own name.
        file: what messages call the file.
        config: the arguments of the class.
        place: where the weights of the layer are, see `weights.py`.
        version: major version of Keras that wrote the file; 0 where the file does not say.
        entry: the whole description, of which `config` is a part.
    """

    kind: str
    name: str
    file: str
    config: Mapping[str, Any]
    place: str
    version: int
    entry: Mapping[str, Any] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set)

    @property
    def where(self) -> str:
        """How an error message names this layer."""
        return f"{self.file}: {self.kind} layer {self.name!r}"

    def has(self, key: str) -> bool:
        """Whether the key is there and set (reading it)."""
        return self.get(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key as it stands; `default` where it is absent or null."""
        self._read.add(key)
        found = self.config.get(key)
        return default if found is None else found

    def flag(self, key: str, default: bool) -> bool:
        """A key that is true or false."""
        found = self.get(key, default)
        if not isinstance(found, bool):
            raise self.damaged(key, "true or false", found)
        return found

    def integer(self, key: str, default: int | None = None, least: int = 1, most: int = 1 << 31) -> int:
        """A key that is a whole number, or a list of one."""
        found = self.get(key, default)
        if isinstance(found, list) and len(found) == 1:
            (found,) = found
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise self.damaged(key, f"a whole number from {least} to {most}", found)
        return found

    def integers(self, key: str, least: int = -(1 << 31)) -> tuple[int, ...]:
        """A key that is a list of whole numbers, or one number."""
        found = self.get(key)
        items = found if isinstance(found, list) else [found]
        if len(items) > 8 or any(
            isinstance(item, bool) or not isinstance(item, int) or not least <= item <= 1 << 31 for item in items
        ):
            raise self.damaged(key, "at most 8 whole numbers", found)
        return tuple(items)

    def number(self, key: str, default: float | None = None) -> float:
        """A key that is a finite number."""
        found = self.get(key, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            raise self.damaged(key, "a finite number", found)
        return float(found)

    def choice(self, key: str, allowed: Iterable[str], default: str | None = None) -> str:
        """A key that is one of `allowed`.

        Raises:
            UnsupportedError: it is something else.
        """
        allowed = list(allowed)
        found = self.get(key, default)
        if found not in allowed:
            raise self.refuse(key, found, f"supported is {' or '.join(map(repr, allowed))}")
        return str(found)

    def only(self, key: str, value: Any, advice: str) -> None:
        """Refuses a key that is set to anything but `value`."""
        found = self.get(key, value)
        if found != value:
            raise self.refuse(key, found, advice)

    def inert(self, *keys: str) -> None:
        """Counts keys that change nothing here."""
        self._read.update(keys)

    def refuse(self, key: str, value: Any, advice: str) -> UnsupportedError:
        """The error for a key whose value is not honoured."""
        return UnsupportedError(f"{self.where}: {key} = {brief(value)} is not supported: {advice}")

    def damaged(self, key: str, expected: str, got: Any) -> FormatError:
        """The error for a key whose value Keras does not write."""
        return FormatError(f"{self.where}: {key}: expected {expected}, got {brief(got)}")

    def finish(self) -> list[str]:
        """Refuses every key that is set and that nothing read; gives report lines on what was assumed.

        Raises:
            UnsupportedError: names the key and its value.
        """
        notes = self._dtype()
        for key, value in self.config.items():
            if value is None or key in self._read or key in _INERT or _TRAINING.search(key):
                continue
            raise self.refuse(key, value, "leave it at its default and save the model again")
        return notes

    def _dtype(self) -> list[str]:
        policy = self.get("dtype")
        if isinstance(policy, Mapping):
            kind, config = policy.get("class_name"), policy.get("config")
            name = config.get("name") if isinstance(config, Mapping) else None
            if kind not in ("DTypePolicy", "FloatDTypePolicy", "Policy"):
                raise self.refuse("dtype", policy, "save the model before it is quantized")
            policy = name
        if policy in (None, "float32"):
            return []
        if policy not in _COMPUTED:
            raise self.refuse("dtype", policy, f"supported are {', '.join(_COMPUTED)}")
        return [f"{self.name}: dtype {policy}: computed in float32"]


def make_layer(data: Any, file: str, place: str, version: int) -> Layer:
    """The layer that one entry of a list of layers describes.

    Raises:
        FormatError: the entry has no class or its config is no object.
        UnsupportedError: the class is not one of Keras itself.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("class_name"), str):
        raise FormatError(f"{file}: expected a layer with a class_name, got {brief(data)}")
    kind = data["class_name"]
    config = data.get("config", {})
    if isinstance(config, list):  # Sequential before Keras 2.3
        config = {"layers": config}
    if not isinstance(config, Mapping):
        raise FormatError(f"{file}: {kind}: config: expected an object, got {brief(config)}")
    name = config.get("name", data.get("name", kind.lower()))
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or len(kind) > MAX_NAME:
        raise FormatError(f"{file}: {brief(kind)}: name: expected at most {MAX_NAME} characters, got {brief(name)}")
    layer = Layer(kind, name, file, config, place, version, data)
    module, registered = data.get("module"), data.get("registered_name")
    own = module is None or (isinstance(module, str) and _KERAS.match(module))
    if not own or (isinstance(registered, str) and ">" in registered and not registered.startswith("keras")):
        raise UnsupportedError(
            f"{layer.where}: a class of {brief(registered or module)}, not of Keras: its code is not in the file and "
            "would not be run if it were; replace it by Keras's own layers"
        )
    if isinstance(module, str) and ".ops" in module and kind not in MASK_OPERATIONS:
        raise UnsupportedError(
            f"{layer.where}: a bare operation between layers: use a layer (Add, Concatenate, Reshape...) in its place"
        )
    return layer


def brief(value: Any) -> str:
    """A value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
