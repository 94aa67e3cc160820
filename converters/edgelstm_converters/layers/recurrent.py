"""LSTM, GRU and RNN entries: any layout, stacked, bidirectional, projected, with trained start states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Attr
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.functions import Function, cell_function
from edgelstm_converters.layers.gates import Direction, keras_direction, onnx_directions, torch_direction

RETURNS = ("sequences", "last", "last_step", "final_state")
DIRECTIONS = ("forward", "reverse", "bidirectional")


@dataclass(frozen=True, slots=True)
class Cell:
    """What distinguishes the three cells when weights are read.

    Attributes:
        op: the operator of the graph: "lstm", "gru" or "rnn".
        title: how reports call the cell.
        torch_order: block k of an ONNX weight is this block of PyTorch's.
        keras_order: the same for Keras.
        functions: keys of the entry and their default, one for each ONNX activation of a direction.
        attrs: reads the attributes that only this cell has; gets the entry and the biases as given.
    """

    op: str
    title: str
    torch_order: tuple[int, ...]
    keras_order: tuple[int, ...]
    functions: tuple[tuple[str, str | None], ...]
    attrs: Callable[[Entry, Sequence[FloatArray | None]], dict[str, Attr]]

    @property
    def gates(self) -> int:
        """Blocks of rows in a weight."""
        return len(self.torch_order)


@dataclass(frozen=True, slots=True)
class Stack:
    """Weights of an entry: layers, each a list of one or two directions."""

    layers: list[list[Direction]]

    @property
    def inputs(self) -> int:
        """Features that the first layer reads."""
        return int(self.layers[0][0].w.shape[1])

    @property
    def directions(self) -> int:
        """1 or 2."""
        return len(self.layers[0])

    @property
    def output(self) -> int:
        """Features of one direction of h."""
        return int(self.layers[0][0].r.shape[1])


def add_recurrent(cell: Cell, entry: Entry, to: ChainBuilder) -> None:
    """Appends an LSTM, GRU or RNN entry to the chain.

    Raises:
        InputError: an array is missing, does not fit, or a key has a value that does not.
    """
    to.need_sequence(entry.where)
    stack = read_stack(cell, entry)
    hidden = int(stack.layers[0][0].w.shape[0]) // cell.gates
    _check_declared(entry, stack, hidden)
    if stack.inputs != to.features:
        raise InputError(
            f"{entry.where}: array {_weight_name(entry)!r}: expected {to.features} input features, the width of the "
            f"layer before, got {stack.inputs}"
        )
    attrs = _attrs(cell, entry, stack, hidden)
    count = len(stack.layers) * stack.directions
    starts = {
        role: _start(entry, role, count, width)
        for role, width in (("h0", stack.output), ("c0", hidden))
        if role == "h0" or cell.op == "lstm"
    }
    back = _read_return(entry, stack.directions)
    to.swap(True, entry.label)
    for number, directions in enumerate(stack.layers):
        name = entry.label if len(stack.layers) == 1 else f"{entry.label}.l{number}"
        final = _add_layer(cell, to, name, number, directions, starts, attrs)
        last = number == len(stack.layers) - 1
        _join_directions(to, name, final, back if last else "sequences")
    to.report.append(_describe(cell, entry, stack, hidden, starts, attrs))


def read_stack(cell: Cell, entry: Entry) -> Stack:
    """The weights of an entry in ONNX order, whatever their layout.

    Raises:
        InputError: an array is missing or does not fit.
    """
    if entry.layout == "torch":
        layers = _torch_layers(cell, entry)
    elif entry.layout == "keras":
        sides = ["", "backward_"] if entry.found("backward_recurrent_kernel") else [""]
        layers = [[keras_direction(entry, cell.keras_order, side) for side in sides]]
    else:
        layers = [onnx_directions(entry, cell.gates)]
    stack = Stack(layers)
    for number, directions in enumerate(layers):
        inputs = stack.inputs if number == 0 else stack.output * stack.directions
        for direction in directions:
            _check_like(entry, number, direction, layers[0][0], inputs)
    return stack


def _torch_layers(cell: Cell, entry: Entry) -> list[list[Direction]]:
    if entry.kind.endswith("_cell") or (not entry.found("weight_hh_l0") and entry.found("weight_hh")):
        return [[torch_direction(entry, cell.torch_order, "")]]
    number, layers = 0, []
    while number == 0 or entry.found(f"weight_hh_l{number}"):
        sides = ["", "_reverse"] if entry.found(f"weight_hh_l{number}_reverse") else [""]
        layers.append([torch_direction(entry, cell.torch_order, f"_l{number}{side}") for side in sides])
        number += 1
    return layers


def _check_like(entry: Entry, number: int, direction: Direction, first: Direction, inputs: int) -> None:
    wanted = (first.w.shape[0], inputs)
    if direction.w.shape != wanted or direction.r.shape != first.r.shape:
        raise InputError(
            f"{entry.where}: layer {number}: expected input weights {wanted} and recurrent weights {first.r.shape} "
            f"(gates first), got {direction.w.shape} and {direction.r.shape}"
        )
    for what, mine, theirs in (("biases", direction.b, first.b), ("projection", direction.proj, first.proj)):
        if (mine is None) != (theirs is None):
            raise InputError(f"{entry.where}: layer {number}: expected {what} in every layer and direction or in none")


def _check_declared(entry: Entry, stack: Stack, hidden: int) -> None:
    entry.expect("hidden_size", hidden, "the shape of the arrays")
    entry.expect("input_size", stack.inputs, "the shape of the arrays")
    entry.expect("num_layers", len(stack.layers), "the list of the arrays")
    if any(len(directions) != stack.directions for directions in stack.layers):
        raise InputError(f"{entry.where}: expected backward weights in every layer or in none")
    both = entry.flag("bidirectional")
    if both is not None and both != (stack.directions == 2):
        found = "two directions" if stack.directions == 2 else "one direction only"
        raise InputError(f"{entry.where}: bidirectional: declared {both}, but the arrays hold {found}")


def _attrs(cell: Cell, entry: Entry, stack: Stack, hidden: int) -> dict[str, Attr]:
    direction = "bidirectional" if stack.directions == 2 else "forward"
    if entry.layout == "onnx":
        direction = entry.choice("direction", DIRECTIONS, direction)
        if (direction == "bidirectional") != (stack.directions == 2):
            raise InputError(
                f"{entry.where}: direction: declared {direction!r}, but W has {stack.directions} direction(s)"
            )
    named = _functions(cell, entry, stack.directions)
    clip = entry.number("clip", 0.0) or 0.0
    if clip < 0.0:
        raise InputError(f"{entry.where}: clip: expected a positive number, or 0 for none, got {clip}")
    return {
        "hidden_size": hidden,
        "direction": direction,
        "activations": tuple(name for name, _ in named),
        "activation_alpha": tuple(constants.get("alpha", 0.0) for _, constants in named),
        "activation_beta": tuple(constants.get("beta", 0.0) for _, constants in named),
        "clip": clip,
        **cell.attrs(entry, _biases(entry, stack)),
    }


def _functions(cell: Cell, entry: Entry, directions: int) -> list[Function]:
    """The functions of every direction, in the order of ONNX."""
    if entry.layout == "onnx":
        given = entry.value("activations")
        defaults = [default for _, default in cell.functions]
        if given is None:
            given = defaults * directions
        if (
            isinstance(given, (str, bytes))
            or not isinstance(given, Sequence)
            or len(given) != len(defaults) * directions
        ):
            raise InputError(
                f"{entry.where}: activations: expected a list of {len(defaults)} functions for each of {directions} "
                f"direction(s), got {given!r}"
            )
        return [cell_function(entry, "activations", function) for function in given]
    one = []
    for key, default in cell.functions:
        # The output of an LSTM goes through the same function as its candidate unless it is told apart.
        fallback = entry.value("activation", default) if key == "output_activation" else default
        one.append(cell_function(entry, key, entry.value(key, fallback)))
    return one * directions


def _biases(entry: Entry, stack: Stack) -> list[FloatArray | None]:
    """Biases as they were given, before they were joined: a Keras GRU's shape tells how it resets."""
    if entry.layout == "keras":
        return [entry.array(f"{side}bias") for side in ("", "backward_")[: stack.directions]]
    return [direction.b for directions in stack.layers for direction in directions]


def _start(entry: Entry, role: str, count: int, width: int) -> FloatArray | None:
    """A trained start state as (layers * directions, width)."""
    found = entry.constant(role)
    if found is None:
        return None
    name, array = found
    shapes = [(count, width), (count, 1, width)] + ([(width,)] if count == 1 else [])
    if array.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise InputError(f"{entry.where}: array {name!r}: expected shape {wanted}, got {array.shape}")
    return array.reshape(count, width)


def _read_return(entry: Entry, directions: int) -> str:
    back = entry.choice("return", RETURNS, "sequences")
    if back == "last" and directions == 2:
        raise InputError(
            f"{entry.where}: return: 'last' has two readings with two directions: 'last_step' (both at the last time "
            "step: output[:, -1] in PyTorch) or 'final_state' (each where it ends: h_n in PyTorch, "
            "return_sequences=False in Keras)"
        )
    return "last_step" if back == "last" else back


def _add_layer(
    cell: Cell,
    to: ChainBuilder,
    name: str,
    number: int,
    directions: Sequence[Direction],
    starts: dict[str, FloatArray | None],
    attrs: dict[str, Attr],
) -> str:
    """One cell node; afterwards the chain's value is y (T, D, B, H). Returns the name of h (D, B, H)."""

    def stacked(role: str) -> str:
        parts = [getattr(direction, role) for direction in directions]
        return "" if parts[0] is None else to.constant(f"{name}.{role}", np.stack(parts))

    def start(role: str) -> str:
        every = starts.get(role)
        if every is None:
            return ""
        rows = every[number * len(directions) : (number + 1) * len(directions)]
        return to.constant(f"{name}.{role}", rows[:, None])  # (D, 1, n): one row for every stream of a batch

    inputs = [to.value, stacked("w"), stacked("r"), stacked("b"), "", start("h0")]
    if cell.op == "lstm":
        inputs += [start("c0"), stacked("p"), stacked("proj")]
    to.value, final = to.node(cell.op, inputs, name, 2, attrs)
    return final


def _join_directions(to: ChainBuilder, name: str, final: str, back: str) -> None:
    """y (T, D, B, H) to (T, B, D*H), or to the (B, D*H) that is asked for; the forward half comes first."""
    time, directions, batch, width = to.type.shape
    joined = directions * width
    if back == "final_state" or (back == "last_step" and directions == 1):
        to.value = final
        if directions != 1:
            to.then("transpose", f"{name}.side_by_side", perm=(1, 0, 2))
        to.then("reshape", f"{name}.joined", shape=(batch, joined))
        to.pooled = True
        return
    if back == "last_step":
        to.then("slice", f"{name}.last_step", axes=(0,), starts=(time - 1,), stops=(time,), steps=(1,))
        time = 1
    if directions != 1:
        to.then("transpose", f"{name}.side_by_side", perm=(0, 2, 1, 3))
    to.pooled = back == "last_step"
    to.then("reshape", f"{name}.joined", shape=(batch, joined) if to.pooled else (time, batch, joined))


def _weight_name(entry: Entry) -> str:
    for role in ("weight_ih_l0", "weight_ih", "kernel", "W"):
        if entry.found(role):
            return entry.name_of(role)
    return "input weights"


def _describe(
    cell: Cell,
    entry: Entry,
    stack: Stack,
    hidden: int,
    starts: dict[str, FloatArray | None],
    attrs: dict[str, Attr],
) -> str:
    depth = f"{len(stack.layers)} layers, " if len(stack.layers) > 1 else ""
    direction = "" if attrs["direction"] == "forward" else f"{attrs['direction']}, "
    projected = f", projected to {stack.output}" if stack.output != hidden else ""
    bias = ", no biases" if stack.layers[0][0].b is None else ""
    start = "".join(f", trained {role}" for role, array in starts.items() if array is not None)
    functions = ", ".join(map(str, attrs["activations"]))  # type: ignore[arg-type]
    reset = f", linear_before_reset={attrs['linear_before_reset']}" if cell.op == "gru" else ""
    return (
        f"{entry.label}: {cell.title}, {depth}{direction}{stack.inputs} features, {hidden} units{projected}{bias}"
        f"{start}; {functions}{reset}"
    )
