"""SimpleRNN, LSTM, GRU and Bidirectional.

Keras's cells are ONNX's with other gate orders; what differs is around them: `go_backwards` gives its outputs in the
order in which they were made, last reading first; Bidirectional turns the second direction's outputs round again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgelstm.errors import FormatError
from edgelstm.graph.dims import Dim
from edgelstm.graph.shapes import RECURRENT_INPUTS
from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import Layer, make_layer
from edgelstm_converters.keras.functions import cell_function
from edgelstm_converters.keras.layers.mask import blank, started
from edgelstm_converters.keras.layers.shape import need_rank
from edgelstm_converters.keras.weights import Part
from edgelstm_converters.layers.functions import Function
from edgelstm_converters.layers.gates import Direction, keras_direction
from edgelstm_converters.layers.gru import GRU
from edgelstm_converters.layers.lstm import LSTM
from edgelstm_converters.layers.recurrent import Cell
from edgelstm_converters.layers.rnn import RNN

CELLS: Mapping[str, Cell] = {"LSTM": LSTM, "GRU": GRU, "SimpleRNN": RNN}
_DEFAULTS = {"activation": "tanh", "recurrent_activation": "sigmoid"}
_REDUCTIONS = {"sum": "reduce_sum", "mul": "reduce_prod", "ave": "reduce_mean"}


class _Config:
    """The keys of one recurrent layer, or of one direction of a Bidirectional."""

    def __init__(self, layer: Layer) -> None:
        cell = CELLS[layer.kind]
        self.layer, self.cell = layer, cell
        self.units = layer.integer("units")
        self.use_bias = layer.flag("use_bias", True)
        self.backwards = layer.flag("go_backwards", False)
        self.sequences = layer.flag("return_sequences", False)
        self.state = layer.flag("return_state", False)
        self.stateful = layer.flag("stateful", False)
        self.reset_after: bool | None = None
        if cell is GRU and layer.has("reset_after"):
            self.reset_after = layer.flag("reset_after", True)
        named: dict[str, Function] = {}
        for key in dict.fromkeys(key for key, _ in cell.functions):
            if key != "output_activation":  # an LSTM's output goes through the function of its candidate
                named[key] = cell_function(layer, key, _DEFAULTS[key])
        self.functions = [named["activation" if key == "output_activation" else key] for key, _ in cell.functions]
        layer.only("time_major", False, "give sequences batch first")
        self.blank = layer.flag("zero_output_for_mask", False)
        # Dropout is for training; how a layer is computed changes nothing here.
        layer.inert("unroll", "implementation", "dropout", "recurrent_dropout", "unit_forget_bias")
        layer.inert("cudnn", "use_cudnn")

    def parts(self, group: str, side: str = "") -> list[Part]:
        roles = ("kernel", "recurrent_kernel", "bias") if self.use_bias else ("kernel", "recurrent_kernel")
        return [(group, side + role) for role in roles]

    def check(self, direction: Direction, reset: int | None) -> None:
        """The arrays hold what the config says."""
        units = direction.r.shape[1]
        if units != self.units:
            raise FormatError(f"{self.layer.where}: units: expected {units}, as the arrays have, got {self.units}")
        if reset is not None and self.reset_after is not None and bool(reset) != self.reset_after:
            raise FormatError(
                f"{self.layer.where}: reset_after = {self.reset_after}, but the bias is that of {bool(reset)}"
            )


def recurrent(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """SimpleRNN, LSTM or GRU; further inputs are its start states."""
    config = _Config(layer)
    direction = "reverse" if config.backwards else "forward"
    y, last = _cells(layer, [config], config.parts("cell"), direction, inputs, to)
    hold, shown = inputs[0].hold, last[0]
    if hold and len(inputs) > 1:
        every, end = started(layer, hold, _keep(hold, to), direction, to)
        (y,) = to.node("mul", [y, every], f"{layer.name}.started", 1, {})
        (shown,) = to.node("mul", [shown, end], f"{layer.name}.started", 1, {})
    if hold and config.blank:
        if not config.sequences:
            raise layer.refuse("zero_output_for_mask", True, "with return_sequences=False leave it at False")
        y = blank(layer, y, hold, to)
    to.value, to.time_major = y, True
    if not config.sequences:
        (out,) = _states(layer, [shown], 1, to)
    else:
        time, _, batch, width = to.type.shape
        to.then("reshape", f"{layer.name}.joined", shape=(time, batch, width))
        if config.backwards:
            to.then("slice", f"{layer.name}.turned", axes=(0,), starts=(time - 1,), stops=(-1,), steps=(-1,))
        out = replace(to.leave(), hold=hold)
    _report(layer, [config], to)
    return [out, *_states(layer, last, 1, to)] if config.state else [out]


def bidirectional(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """A layer run both ways, its two outputs merged."""
    merge = layer.choice("merge_mode", ("concat", *_REDUCTIONS), None)
    forward = _inner(layer, "layer")
    backward = _inner(layer, "backward_layer" if layer.has("backward_layer") else "layer")
    if not layer.has("backward_layer"):
        backward.config = {**forward.config, "go_backwards": not forward.config.get("go_backwards", False)}
    sides = [_Config(forward), _Config(backward)]
    notes = [*forward.finish(), *backward.finish()]
    to.report += [f"assumed  {note}" for note in notes]
    first, second = sides
    if first.backwards or not second.backwards:
        raise layer.refuse("go_backwards", first.backwards, "let the first layer run forwards, the second backwards")
    for key in ("cell", "units", "use_bias", "sequences", "state", "reset_after", "stateful"):
        if getattr(first, key) != getattr(second, key):
            raise layer.refuse(
                "backward_layer", backward.config.get("name"), f"the two directions differ in {key}; make them alike"
            )
    parts = [*first.parts("forward_layer/cell"), *second.parts("backward_layer/cell", "backward_")]
    y, last = _cells(layer, sides, parts, "bidirectional", inputs, to)
    hold = inputs[0].hold if first.sequences else ""
    if inputs[0].hold and len(inputs) > 1:
        raise layer.refuse("initial_state", "given", "with a mask let both directions start from zeros")
    if hold:
        y = blank(layer, y, hold, to)  # Keras sets zero_output_for_mask of both directions
    to.value, to.time_major = (y, True) if first.sequences else (last[0], False)
    _merge(layer, merge, first.sequences, to)
    out = replace(to.leave(), hold=hold)
    _report(layer, sides, to, f", merge_mode {merge}")
    return [out, *_states(layer, last, 2, to)] if first.state else [out]


def _inner(layer: Layer, key: str) -> Layer:
    inner = make_layer(layer.get(key), layer.file, layer.place, layer.version)
    if inner.kind not in CELLS:
        raise layer.refuse(key, inner.kind, f"supported is {', '.join(CELLS)}")
    return inner


def _cells(
    layer: Layer,
    sides: Sequence[_Config],
    parts: Sequence[Part],
    direction: str,
    inputs: Sequence[Flow],
    to: KerasBuilder,
) -> tuple[str, list[str]]:
    """One cell node; gives y (T, D, B, H) and the last states (D, B, H)."""
    cell, units = sides[0].cell, sides[0].units
    need_rank(layer, inputs[0], (3,), to)
    entry = to.entry(layer, cell.op, parts)
    names = ["", "backward_"][: len(sides)]
    weights = [keras_direction(entry, cell.keras_order, name) for name in names]
    attrs: dict[str, int] = {}
    if cell is GRU:
        biases = [entry.array(f"{name}bias") for name in names]
        after = [
            bias.ndim == 2 if bias is not None else side.reset_after for bias, side in zip(biases, sides, strict=True)
        ]
        if None in after or len(set(after)) != 1:
            raise FormatError(f"{layer.where}: reset_after: the file does not say it; save the model again")
        attrs["linear_before_reset"] = int(bool(after[0]))
    for side, one in zip(sides, weights, strict=True):
        side.check(one, attrs.get("linear_before_reset"))
    to.enter(inputs[0], True)
    if weights[0].w.shape[1] != to.type.shape[2]:
        raise FormatError(
            f"{layer.where}: expected {weights[0].w.shape[1]} features, as its kernel has, got {to.type.shape[2]}"
        )
    functions = [function for side in sides for function in side.functions]
    arrays: list[str] = []
    for role in ("w", "r", "b"):
        every = [getattr(one, role) for one in weights]
        arrays.append("" if every[0] is None else to.constant(f"{layer.name}.{role}", np.stack(every)))
    x = to.value
    starts = _starts(layer, cell, len(sides), units, inputs[1:], to)
    outputs = 3 if cell is LSTM else 2
    keep = _keep(inputs[0].hold, to) if inputs[0].hold else ""
    operands = [x, *arrays, "", *starts]
    operands += [""] * (len(RECURRENT_INPUTS[cell.op]) - 1 - len(operands)) + [keep]
    y, *last = to.node(
        cell.op,
        operands,
        layer.name,
        outputs,
        {
            "hidden_size": units,
            "direction": direction,
            "activations": tuple(name for name, _ in functions),
            "activation_alpha": tuple(constants.get("alpha", 0.0) for _, constants in functions),
            "activation_beta": tuple(constants.get("beta", 0.0) for _, constants in functions),
            **attrs,
        },
    )
    return y, last


def _keep(hold: str, to: KerasBuilder) -> str:
    """A mask as a cell takes it: (T, B)."""
    to.enter(Flow(hold), True)
    return to.value


def _starts(
    layer: Layer, cell: Cell, directions: int, units: int, states: Sequence[Flow], to: KerasBuilder
) -> list[str]:
    """Start states (B, H) of every direction as (D, B, H)."""
    if not states:
        return []
    kinds = 2 if cell is LSTM else 1
    if len(states) != kinds * directions:
        raise FormatError(f"{layer.where}: expected {kinds * directions} start states, got {len(states)}")
    for state in states:
        if len(to.shape(state)) != 2 or to.shape(state)[1] != units:
            raise FormatError(f"{layer.where}: expected start states of {units} units, got shape {to.shape(state)}")
    found = []
    for kind in range(kinds):  # Keras: forward h, c, then backward h, c
        rows = []
        for state in states[kind::kinds]:
            to.enter(state, False)
            shape: tuple[Dim, ...] = (1, *to.type.shape)
            to.then("reshape", f"{layer.name}.start", shape=shape)
            rows.append(to.value)
        if len(rows) > 1:
            (joined,) = to.node("concat", rows, f"{layer.name}.start", 1, {"axis": 0})
            rows = [joined]
        found += rows
    return found


def _states(layer: Layer, last: Sequence[str], directions: int, to: KerasBuilder) -> list[Flow]:
    """Last states (D, B, H) as Keras gives them: (B, H), forward h, c, then backward h, c."""
    found = []
    for number in range(directions):
        for value in last:
            to.value, to.time_major = value, False
            if directions > 1:
                to.then("slice", f"{layer.name}.last", axes=(0,), starts=(number,), stops=(number + 1,), steps=(1,))
            to.then("reshape", f"{layer.name}.last", shape=to.type.shape[1:])
            found.append(to.leave())
    return found


def _merge(layer: Layer, merge: str, sequences: bool, to: KerasBuilder) -> None:
    """(T, 2, B, H) to (T, B, H or 2H), or (2, B, H) to (B, H or 2H)."""
    axis = 1 if sequences else 0
    label = f"{layer.name}.merged"
    if merge != "concat":
        to.then(_REDUCTIONS[merge], label, axes=(axis,), keepdims=0)
        return
    *rest, batch, width = to.type.shape
    to.then("transpose", label, perm=(0, 2, 1, 3) if sequences else (1, 0, 2))
    to.then("reshape", label, shape=(*rest[:axis], batch, 2 * width))


def _report(layer: Layer, sides: Sequence[_Config], to: KerasBuilder, more: str = "") -> None:
    first = sides[0]
    functions = ", ".join(name for side in sides for name, _ in side.functions)
    flags = {
        "go_backwards": len(sides) == 1 and first.backwards,
        "return_sequences": first.sequences,
        "return_state": first.state,
        f"reset_after={first.reset_after}": first.reset_after is not None,
        "use_bias=False": not first.use_bias,
    }
    to.report.append(
        f"{layer.name}: {'Bidirectional ' if len(sides) > 1 else ''}{first.cell.title}, {first.units} units; "
        f"{', '.join([functions, *(flag for flag, on in flags.items() if on)])}{more}"
    )
    if first.stateful:
        to.report.append(
            f"assumed  {layer.name}: stateful: a stream carries the state; predict starts every sequence from zeros"
        )


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    **dict.fromkeys(CELLS, recurrent),
    "Bidirectional": bidirectional,
}
