"""Which array of a file belongs to which layer, in the two ways in which Keras has stored them.

By place (`.keras`, `.weights.h5`): a layer's arrays are numbered in a group whose path is made of the class names on
the way (`layers/lstm_1/cell/vars/0`). By order (`.h5` until Keras 2): each layer has a group with its own name and a
list `weight_names`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm_converters.array_book import ArrayBook, listing
from edgelstm_converters.keras.config import Layer
from edgelstm_converters.keras.hdf5 import Content

Part = tuple[str, str]  # group below the layer's own ("cell", "forward_layer/cell"...), role of the array
_RANDOM = ("seed_generator", "seed_generator_state")  # what dropout draws from
_ROLES = (
    "kernel", "recurrent_kernel", "bias", "embeddings", "gamma", "beta", "moving_mean", "moving_variance",
)  # fmt: skip
ROLES_BY_GROUP: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("lstm", "gru", "simple_rnn"), ("kernel", "recurrent_kernel", "bias")),
    **dict.fromkeys(("dense", "conv1d"), ("kernel", "bias")),
    "embedding": ("embeddings",),
    "layer_normalization": ("gamma", "beta"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


class Weights(ABC):
    """The arrays of a file.

    Attributes:
        where: what messages call the file.
        arrays: all of them by the path that they have in the file.
        book: the same, counted when they are used.
    """

    def __init__(self, content: Content, where: str) -> None:
        arrays = {
            path: array for path, array in content.arrays.items() if not set(path.split(":")[0].split("/")) & {*_RANDOM}
        }
        if not arrays:
            raise FormatError(f"{where}: expected the weights of a model, found no arrays")
        self.where = where
        self.arrays, self.book = arrays, ArrayBook(arrays)

    @abstractmethod
    def inside(self, place: str, kind: str, name: str, taken: dict[str, int]) -> str:
        """The place of a layer in the model whose place is given; `taken` counts that model's layers by class."""

    @abstractmethod
    def below(self, place: str, attribute: str) -> str:
        """The place of a layer that a layer holds in an attribute."""

    @abstractmethod
    def named(self) -> dict[str, Any]:
        """Every array by a name that ends in its role, where the file shows it: for `layers=[...]`."""

    @abstractmethod
    def names(self, layer: Layer, parts: Sequence[Part]) -> dict[str, str]:
        """Role → name in the book of all the arrays that a layer has.

        Raises:
            FormatError: the file holds more or fewer for this layer, or in another order.
        """


class Placed(Weights):
    """Weights by place."""

    def __init__(self, content: Content, where: str) -> None:
        super().__init__(content, where)
        # Keras 2.12 and 2.13 called the list of layers so.
        older = any(path.startswith("_layer_checkpoint_dependencies") for path in content.groups)
        self.layers = "_layer_checkpoint_dependencies" if older else "layers"

    def inside(self, place: str, kind: str, name: str, taken: dict[str, int]) -> str:
        """The path of the layer's group; names do not matter."""
        del name
        stem = snake_case(kind)
        number = taken.get(stem, 0)
        taken[stem] = number + 1
        own = stem if number == 0 else f"{stem}_{number}"
        return "/".join(part for part in (place, self.layers, own) if part)

    def below(self, place: str, attribute: str) -> str:
        """Attributes are groups."""
        return f"{place}/{attribute}"

    def named(self) -> dict[str, Any]:
        """`layers/lstm/cell/vars/0` is `lstm/kernel`; what tells no role stays as it is."""
        stems = {path.split("/")[1] for path in self.book.names if path.count("/") > 1}
        found = {}
        for path in self.book.names:
            before, _, number = path.rpartition("/vars/")
            first, *groups = before.split("/")
            stem = re.sub(r"_\d+$", "", groups[0]) if groups else ""
            roles = ROLES_BY_GROUP["lstm"] if groups and groups[-1] == "cell" else ROLES_BY_GROUP.get(stem, ())
            if first != self.layers or not number.isdigit() or int(number) >= len(roles):
                found[path] = self.arrays[path]
                continue
            scopes = [group for group in groups[1:] if group not in ("cell", "layer")]
            # `lstm` would be the beginning of `lstm_1` too.
            own = f"{groups[0]}_0" if f"{groups[0]}_1" in stems else groups[0]
            found["/".join((own, *scopes, roles[int(number)]))] = self.arrays[path]
        return found

    def names(self, layer: Layer, parts: Sequence[Part]) -> dict[str, str]:
        """See `Weights`."""
        found: dict[str, str] = {}
        for group in dict.fromkeys(group for group, _ in parts):
            roles = [role for at, role in parts if at == group]
            path = "/".join(part for part in (layer.place, group, "vars") if part)
            held = [name for name in self.book.names if name.rpartition("/")[0] == path]
            wanted = [f"{path}/{number}" for number in range(len(roles))]
            if sorted(held) != sorted(wanted):
                raise FormatError(
                    f"{layer.where}: expected the arrays {', '.join(roles)} in {path!r} of the weights, found "
                    f"{listing(held) or 'none'}"
                )
            found.update(zip(roles, wanted, strict=True))
        return found


class Ordered(Weights):
    """Weights by order, in a group for each layer."""

    def __init__(self, content: Content, where: str, root: str) -> None:
        super().__init__(content, where)
        self.root, self.lists = root, content.texts

    def inside(self, place: str, kind: str, name: str, taken: dict[str, int]) -> str:
        """The layer's own name; a model inside a model has one list for all its layers, which is not read."""
        del kind, taken
        if place:
            raise UnsupportedError(
                f"{self.where}: a model inside a model (layer {name!r} in {place!r}): an .h5 file does not say which "
                "weights are whose; load it in Keras and save it as .keras"
            )
        return name

    def below(self, place: str, attribute: str) -> str:
        """The list of the outer layer holds the arrays of the inner one."""
        del attribute
        return place

    def named(self) -> dict[str, Any]:
        """Names hold the role already: `lstm/lstm/lstm_cell/kernel:0`."""
        return {name.removeprefix(f"{self.root}/"): self.arrays[name] for name in self.book.names}

    def names(self, layer: Layer, parts: Sequence[Part]) -> dict[str, str]:
        """See `Weights`."""
        group = f"{self.root}/{layer.place}" if self.root else layer.place
        listed = self.lists.get(group, {}).get("weight_names", [])
        held = [f"{group}/{name}" for name in listed] if isinstance(listed, list) else []
        held = [name for name in held if name in self.book]
        roles = [role for _, role in parts]
        if len(held) != len(roles):
            raise FormatError(
                f"{layer.where}: expected the arrays {', '.join(roles)}, found {listing(held) or 'none'} in the file"
            )
        for role, name in zip(roles, held, strict=True):
            last = re.sub(r"(_\d+)?(:\d+)?$", "", name.rpartition("/")[2])
            if last in _ROLES and last != role.removeprefix("backward_"):
                raise FormatError(f"{layer.where}: expected the arrays {', '.join(roles)}, found {listing(held)}")
        return dict(zip(roles, held, strict=True))


def open_weights(content: Content, where: str) -> Weights:
    """The arrays of a file in whichever way it holds them.

    Raises:
        FormatError: the file holds no weights of Keras.
    """
    for root in ("model_weights", ""):
        if "layer_names" in content.texts.get(root, {}):
            return Ordered(content, where, root)
    if any(path.split("/")[0] in ("layers", "_layer_checkpoint_dependencies") for path in content.groups):
        return Placed(content, where)
    raise FormatError(f"{where}: expected weights as Keras saves them, found {listing(content.arrays, 5) or 'nothing'}")


def snake_case(name: str) -> str:
    """A class name as Keras makes group names of it: LSTM → lstm, TimeDistributed → time_distributed."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
