"""One entry of `layers=[...]`: a dict that is read key by key, so that nothing in it goes unheard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import InputError
from edgelstm_converters.array_book import ArrayBook, FloatArray, listing

LAYOUTS = ("torch", "keras", "onnx")
ASSUMED = "assumed  "  # how a report line begins that neither the arrays nor the caller say
OPEN = "?"  # what a list of layers made from the arrays alone says where a choice is left to the user
_SEPARATORS = (".", "/", "_")


class Entry:
    """A layer as the user wrote it.

    Reading a key counts it; `finish` refuses the keys that nothing read. An array is named by its
    role: through the prefix in `arrays` (a string) or through the mapping role → array name there.

    Attributes:
        where: how an error message names this entry.
        label: what the layer's nodes and constants are called in the graph.
        layout: "torch", "keras" or "onnx": whose names, axes and gate order the arrays have.
    """

    def __init__(self, index: int, data: Mapping[str, Any], book: ArrayBook, layout: str) -> None:
        self.where = f"layers[{index}]"
        if not isinstance(data, Mapping):
            raise InputError(
                f"{self.where}: expected a dict such as {{'kind': 'linear', 'arrays': 'fc'}}, got {data!r}"
            )
        self._data, self._book, self.layout = data, book, layout
        self._read: list[str] = []
        self._roles: list[str] = []
        kind = self._get("kind")
        if not isinstance(kind, str):
            raise InputError(f"{self.where}: expected a key 'kind' naming the layer, got {kind!r}")
        self.kind = kind
        self._arrays: Any = self._get("arrays")
        named = isinstance(self._arrays, str)
        self.where += f" ({kind} {self._arrays!r})" if named else f" ({kind})"
        self.label = self._arrays if named and self._arrays else f"{kind}_{index}"

    # keys

    def has(self, key: str) -> bool:
        """Whether the entry has this key (reading it)."""
        self._get(key)
        return key in self._data

    def value(self, key: str, default: Any = None) -> Any:
        """The value of a key as it stands; an open choice ("?") is refused."""
        found = self._get(key, default)
        if isinstance(found, str) and found == OPEN:
            raise InputError(f"{self.where}: the choice of {key!r} is still open ({OPEN!r}): the arrays do not say it")
        return found

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """A key that is one of `allowed`."""
        found = self.value(key, default)
        if found not in allowed:
            got = "nothing" if found is None else repr(found)
            raise InputError(f"{self.where}: {key}: expected one of {', '.join(map(repr, allowed))}, got {got}")
        return str(found)

    def integer(self, key: str, default: int | None = None, least: int = 1) -> int | None:
        """A key that is a whole number of at least `least`."""
        found = self.value(key, default)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, (int, np.integer)) or found < least:
            raise InputError(f"{self.where}: {key}: expected a whole number of at least {least}, got {found!r}")
        return int(found)

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        """A key that is True or False (or 1 or 0)."""
        found = self.value(key, default)
        if found is None:
            return None
        if isinstance(found, (bool, np.bool_)) or (isinstance(found, int) and found in (0, 1)):
            return bool(found)
        raise InputError(f"{self.where}: {key}: expected True or False, got {found!r}")

    def number(self, key: str, default: float | None = None) -> float | None:
        """A key that is a finite number."""
        found = self.value(key, default)
        return None if found is None else finite(found, f"{self.where}: {key}")

    def expect(self, key: str, got: int, what: str) -> None:
        """Refuses a declared size that is not the one that the arrays have."""
        declared = self.integer(key)
        if declared is not None and declared != got:
            raise InputError(f"{self.where}: {key}: declared {declared}, but {what} makes it {got}")

    def finish(self) -> None:
        """Refuses every key and every array role that nothing read.

        Raises:
            InputError: names the keys or roles.
        """
        if unknown := [key for key in self._data if key not in self._read]:
            known = listing(sorted(set(self._read)))
            raise InputError(f"{self.where}: unknown key {listing(unknown)}; a {self.kind} entry reads {known}")
        if isinstance(self._arrays, Mapping) and (extra := [key for key in self._arrays if key not in self._roles]):
            known = listing(sorted(set(self._roles)))
            raise InputError(f"{self.where}: unknown array role {listing(extra)}; this layer reads {known}")

    def _get(self, key: str, default: Any = None) -> Any:
        if key not in self._read:
            self._read.append(key)
        return self._data.get(key, default)

    # arrays

    def found(self, role: str) -> bool:
        """Whether there is an array for this role."""
        return self._resolve(role) is not None

    def array(self, role: str, shape: Sequence[int | None] | None = None) -> FloatArray | None:
        """The array of a role, None when there is none; `shape` has None where any size fits."""
        found = self._resolve(role)
        if found is None:
            return None
        name, value = found
        array = self._book.take(name, self.where) if value is None else self._book.clean(name, value)
        if shape is not None:
            self.fit(name, array.shape, shape)
        return array

    def need(self, role: str, shape: Sequence[int | None] | None = None) -> FloatArray:
        """The array of a role that must be there."""
        array = self.array(role, shape)
        if array is None:
            raise InputError(
                f"{self.where}: there is no array for {self.expected(role)}; the arrays are {listing(self._book.names)}"
            )
        return array

    def constant(self, key: str) -> tuple[str, FloatArray] | None:
        """A key (or role of a mapping) that holds an array or the full name of one."""
        found = self.value(key)
        if isinstance(self._arrays, Mapping):
            self._roles.append(key)
            if key in self._arrays:
                if found is not None:
                    raise InputError(f"{self.where}: {key!r} stands in the entry and in its arrays: give it once")
                found = self._arrays[key]
        if found is None:
            return None
        if isinstance(found, str):
            return found, self._book.take(found, self.where)
        return f"{self.label}.{key}", self._book.clean(f"{self.label}.{key}", found)

    def fit(self, name: str, got: Sequence[int], expected: Sequence[int | None]) -> None:
        """Refuses a shape that does not fit, naming the array, what was expected and what was found."""
        if len(got) != len(expected) or any(e is not None and e != g for e, g in zip(expected, got, strict=True)):
            wanted = ", ".join("any" if size is None else str(size) for size in expected)
            raise InputError(f"{self.where}: array {name!r}: expected shape ({wanted}), got {tuple(got)}")

    def name_of(self, role: str) -> str:
        """What an error message calls the array of a role."""
        found = self._resolve(role)
        return role if found is None else found[0]

    def expected(self, role: str) -> str:
        """The name, or names, under which an array of this role is looked for."""
        if isinstance(self._arrays, Mapping):
            return f"the role {role!r}"
        prefix = self._arrays or ""
        return f"{role!r}" if not prefix else f"{prefix + '.' + role!r}"

    def _resolve(self, role: str) -> tuple[str, Any] | None:
        """(name, None) of an array in the book, or (name, value) of one that stands in the entry itself."""
        if role not in self._roles:
            self._roles.append(role)
        if isinstance(self._arrays, Mapping):
            value = self._arrays.get(role)
            if value is None or isinstance(value, str):
                return None if value is None else (value, None)
            return f"{self.label}.{role}", value
        if not isinstance(self._arrays, str):
            raise InputError(
                f"{self.where}: expected a key 'arrays': the common prefix of the layer's array names, or a dict "
                f"role → array name; got {self._arrays!r}"
            )
        hits = self._keras_names(role) if self.layout == "keras" else self._joined_names(self._arrays, role)
        if len(hits) > 1:
            raise InputError(
                f"{self.where}: more than one array could be {role!r}: {listing(hits)}; name them in a "
                "dict role → array name"
            )
        return (hits[0], None) if hits else None

    def _joined_names(self, prefix: str, role: str) -> list[str]:
        names: Iterable[str] = [prefix + separator + role for separator in _SEPARATORS] if prefix else [role]
        return [name for name in names if name in self._book]

    def _keras_names(self, role: str) -> list[str]:
        """Keras nests scopes: `lstm/lstm_cell/kernel:0`, `bidirectional/backward_lstm/lstm_cell/kernel:0`."""
        prefix = str(self._arrays)
        backward = role.startswith("backward_")
        role = role.removeprefix("backward_")
        hits = []
        for name in self._book.names:
            if prefix and not name.startswith(tuple(prefix + separator for separator in _SEPARATORS)):
                continue
            rest = name[len(prefix) :].lstrip("./").split(":")[0].replace(".", "/")
            *scopes, last = rest.split("/")
            is_backward = any(scope.startswith("backward") for scope in scopes)
            if last.removeprefix("_") == role and is_backward == backward:
                hits.append(name)
        return hits


def finite(value: Any, where: str) -> float:
    """A finite Python or NumPy number as a float.

    Raises:
        InputError: it is not one.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not np.isfinite(value)
    ):
        raise InputError(f"{where}: expected a finite number, got {value!r}")
    return float(value)
