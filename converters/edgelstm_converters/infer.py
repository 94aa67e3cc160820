"""Which model do these arrays hold? Answered where names and shapes leave one reading, else asked back.

Only PyTorch's names say enough: an LSTM or GRU (module or cell), stacked or bidirectional, with or
without one Linear after it. An RNN may be tanh or relu, a layer between others may have any
activation, Keras and ONNX arrays do not say how a GRU resets: there the user is given the list of
layers with the choices left open ("?").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from edgelstm.errors import InputError
from edgelstm_converters.array_book import ArrayBook, listing
from edgelstm_converters.layers.entry import ASSUMED, OPEN

_RECURRENT = re.compile(r"(?:(.*?)[./_])??((?:weight|bias)_(?:ih|hh|hr))(_l(\d+)(_reverse)?)?", re.DOTALL)
_PLAIN = re.compile(
    r"(?:(.*?)[./_])??(weight|bias|kernel|recurrent_kernel|gamma|beta|embeddings|W|R|B|P)(?::\d+)?", re.DOTALL
)
_KINDS = {4: "lstm", 3: "gru", 1: "rnn"}


@dataclass(frozen=True, slots=True)
class Module:
    """Arrays with one prefix: role → shape."""

    prefix: str
    shapes: dict[str, tuple[int, ...]]

    @property
    def recurrent(self) -> bool:
        """Whether the names are those of a recurrent module of PyTorch."""
        return any(role.startswith(("weight_hh", "weight_ih")) for role in self.shapes)

    @property
    def cell(self) -> bool:
        """Whether it is a cell module: names without a layer number."""
        return "weight_hh" in self.shapes

    def kind(self) -> str | None:
        """lstm, gru or rnn by the rows of weight_hh for each unit; None where that fits no cell."""
        suffix = "" if self.cell else "_l0"
        r, proj = self.shapes.get(f"weight_hh{suffix}"), self.shapes.get(f"weight_hr{suffix}")
        if r is None or len(r) != 2 or 0 in r:
            return None
        if proj is not None:
            return "lstm" if len(proj) == 2 and proj[0] == r[1] and 4 * proj[1] == r[0] else None
        return _KINDS.get(r[0] // r[1]) if r[0] % r[1] == 0 else None

    @property
    def inputs(self) -> int:
        """Features that a recurrent module reads; 0 where the array is missing."""
        shape = self.shapes.get("weight_ih" if self.cell else "weight_ih_l0", ())
        return shape[1] if len(shape) == 2 else 0

    @property
    def outputs(self) -> int:
        """Features that a recurrent module gives, both directions together."""
        shape = self.shapes.get("weight_hh" if self.cell else "weight_hh_l0", ())
        both = 2 if any(role.endswith("_reverse") for role in self.shapes) else 1
        return both * shape[1] if len(shape) == 2 else 0


def infer_layers(book: ArrayBook, layout: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The list of layers that the arrays leave no choice about, and what was assumed in it.

    Raises:
        InputError: there is more than one reading; the message holds the list to complete.
    """
    if layout != "torch":
        _refuse(book, layout, f"{layout} arrays do not say which activations their layers have")
    modules, rest = _modules(book)
    recurrent = [module for module in modules if module.recurrent]
    others = [module for module in modules if not module.recurrent]
    if rest:
        _refuse(
            book,
            layout,
            f"the arrays {listing(rest, 8)} have no name that PyTorch gives to a recurrent layer or Linear",
        )
    if len(recurrent) != 1:
        what = (
            "no recurrent module" if not recurrent else f"{len(recurrent)} recurrent modules ({_prefixes(recurrent)})"
        )
        _refuse(book, layout, f"{what}, where one is expected")
    (module,) = recurrent
    kind = module.kind()
    if kind is None:
        _refuse(book, layout, f"the rows of {module.prefix!r} are not 4, 3 or 1 for each unit: no LSTM, GRU or RNN")
    if kind == "rnn":
        _refuse(book, layout, f"the arrays of the RNN {module.prefix!r} do not say whether it is tanh or relu")
    layers: list[dict[str, Any]] = [{"kind": f"{kind}_cell" if module.cell else kind, "arrays": module.prefix}]
    assumed = [f"{ASSUMED}start states are zero"]
    if others:
        layers.append(_linear_after(book, module, others))
        assumed.append(f"{ASSUMED}{others[0].prefix!r} is a Linear after it, at every step, without an activation")
    return layers, assumed


def _linear_after(book: ArrayBook, module: Module, others: list[Module]) -> dict[str, Any]:
    if len(others) > 1:
        _refuse(book, "torch", f"{len(others)} modules stand beside the recurrent one ({_prefixes(others)})")
    (other,) = others
    weight, bias = other.shapes.get("weight", ()), other.shapes.get("bias")
    if not set(other.shapes) <= {"weight", "bias"} or len(weight) != 2 or bias not in (None, weight[:1]):
        _refuse(book, "torch", f"{other.prefix!r} is not a Linear (weight (out, in), bias (out))")
    if weight[1] != module.outputs:
        _refuse(
            book,
            "torch",
            f"{other.prefix!r} reads {weight[1]} features, not the {module.outputs} that {module.prefix!r} gives",
        )
    # The same two arrays before the cell would read inputs of the same width: no reading would ever fail.
    if weight[0] == weight[1] == module.inputs:
        _refuse(book, "torch", f"{other.prefix!r} fits before {module.prefix!r} as well as after it")
    if bias is None and weight[1] == module.inputs:
        _refuse(
            book, "torch", f"{other.prefix!r} has no bias: it may be a Linear after or an embedding before the cell"
        )
    return {"kind": "linear", "arrays": other.prefix}


def _refuse(book: ArrayBook, layout: str, why: str) -> NoReturn:
    raise InputError(
        f"layers: the arrays leave more than one reading: {why}; pass layers=[...] in the order in which data flows, "
        f"with every {OPEN!r} decided:\n{suggest_layers(book, layout)}"
    )


def suggest_layers(book: ArrayBook, layout: str) -> str:
    """A `layers=[...]` list with the array names found, to be put in order and completed."""
    modules, rest = _modules(book)
    lines = [_suggest(module, layout) for module in modules]
    lines += [f"# no layer is known for {name!r} {book.shape(name)}" for name in rest]
    if len(lines) > 100:
        lines = [*lines[:100], f"# and {len(lines) - 100} more"]
    return "layers=[\n" + "".join(f"    {line}\n" for line in lines) + "]"


def _suggest(module: Module, layout: str) -> str:
    where, shapes = repr(module.prefix), module.shapes
    if module.recurrent:
        kind = module.kind() or OPEN
        kind += "_cell" if module.cell and kind != OPEN else ""
        choice, note = (", 'activation': '?'", "  # tanh or relu") if kind.startswith("rnn") else ("", "")
        return f"{{'kind': '{kind}', 'arrays': {where}{choice}}},{note}"
    if "recurrent_kernel" in shapes or "R" in shapes:
        return _suggest_cell(module, layout)
    if "embeddings" in shapes:
        return f"{{'kind': 'embedding', 'arrays': {where}}},"
    if ("gamma" in shapes and "moving_mean" not in shapes) or len(shapes.get("weight", ())) == 1:
        return f"{{'kind': 'layer_norm', 'arrays': {where}}},"
    weight = shapes.get("weight", shapes.get("kernel", ()))
    if len(weight) == 3:
        return f"{{'kind': 'conv1d', 'arrays': {where}, 'padding': '?', 'activation': '?'}},  # activation or None"
    if len(weight) == 2 and "bias" not in shapes and "weight" in shapes:
        return f"{{'kind': '?', 'arrays': {where}}},  # 'embedding' (first), or 'linear' with its 'activation'"
    if len(weight) == 2:
        return f"{{'kind': 'linear', 'arrays': {where}, 'activation': '?'}},  # None, 'relu', 'tanh', ..."
    return f"{{'kind': '?', 'arrays': {where}}},  # {', '.join(f'{role} {shape}' for role, shape in shapes.items())}"


def _suggest_cell(module: Module, layout: str) -> str:
    """A cell in Keras or ONNX names; the rows for each unit tell which."""
    shape = module.shapes.get("recurrent_kernel") or module.shapes.get("R", ())
    wide, units = (shape[-1], shape[-2]) if layout == "keras" else (shape[-2], shape[-1])
    kind = _KINDS.get(wide // units, OPEN) if units and wide % units == 0 else OPEN
    choice = ", 'activation': '?'" if layout == "keras" else ""
    if layout == "keras" and kind != "rnn":
        choice += ", 'recurrent_activation': '?'"
    if kind == "gru" and layout == "onnx":
        choice += ", 'linear_before_reset': '?'"
    if kind == "rnn" and layout == "onnx":
        choice += ", 'activations': ['?']"
    return f"{{'kind': '{kind}', 'arrays': {module.prefix!r}{choice}}},"


def _modules(book: ArrayBook) -> tuple[list[Module], list[str]]:
    """Arrays grouped by prefix in their first order, and the names that fit no known role."""
    found: dict[str, Module] = {}
    rest = []
    for name in book.names:
        match = _RECURRENT.fullmatch(name)
        role = match[2] + (match[3] or "") if match else ""
        if match is None:
            match = _PLAIN.fullmatch(name)
            role = match[2] if match else ""
        if match is None:
            rest.append(name)
            continue
        prefix, role = _merge_sides(match[1] or "", role)
        module = found.setdefault(prefix, Module(prefix, {}))
        module.shapes[role] = book.shape(name)
    return list(found.values()), rest


def _merge_sides(prefix: str, role: str) -> tuple[str, str]:
    """Keras keeps the two directions in scopes `forward_...` and `backward_...` of one wrapper."""
    scopes = prefix.split("/")
    for index, scope in enumerate(scopes):
        if scope.startswith(("forward_", "backward_")):
            side = "backward_" if scope.startswith("backward_") else ""
            return "/".join(scopes[:index]), side + role
    return prefix, role


def _prefixes(modules: list[Module]) -> str:
    return listing([module.prefix for module in modules], 8)
