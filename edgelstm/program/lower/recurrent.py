"""What the recurrent instructions share: the walk over a sequence, activations, the packing of gates.

A row runs one direction: rows of the batch outside, time inside. Strides count words. `h0_stride` is
0 where one start state serves every row. A row past its length gives y = 0 and keeps its state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import UnsupportedError
from edgelstm.graph.ir import Node
from edgelstm.program import functions
from edgelstm.program.lower.gather import BOUND
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import ABSENT, LANES, Fields, Region, float_bits, operand

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

Floats = npt.NDArray[np.float32]

# Beside the operands x, y, h0, h, lengths, keep. H is the number of units.
SEQUENCE_FIELDS = ("T", "B", "I", "H", "reverse", "h0_stride", "x_time", "x_row", "y_time", "y_row")
# By the number of activations: their functions, alphas and betas, and the limit of clip (infinite: none).
ACTIVATION_FIELDS = {
    n: (*(f"{name}{k}" for k in range(n) for name in ("function", "alpha", "beta")), "clip") for n in (1, 2, 3)
}


TOGETHER = 48  # rows of a batch that go through the weights together
TALLEST = 6  # rows of a tile, see `machine/tile.py`
SUMS = TALLEST * 4 * LANES  # words of its sums
AHEAD = TALLEST  # steps of a sequence whose products with x are made at once, see `machine/kernels/lstm.py`
AHEAD_UNITS = 64  # from so many units on: the weights of fewer stay in the nearest cache, and nothing is gained


def padded(units: int) -> int:
    """Units filled up to whole vectors."""
    return -(-units // LANES) * LANES


def together_words(fields: Fields, states: int) -> int:
    """What rows that go together need: the sums of a tile and, of each row, `states` rows of units."""
    alone = fields["lengths"] != ABSENT or fields["keep"] != ABSENT or fields["B"] < 2
    return 0 if alone else SUMS + min(fields["B"], TOGETHER) * states * padded(fields["H"])


def check_sequence(fields: Fields, output: int) -> list[Region]:
    """The regions of x, y, h0, h, lengths and keep; `output` is the width of h, already checked.

    Raises:
        ValueError: a size, stride or flag is out of range.
    """
    t, b, i = sizes(fields, "T", "B", "I", least=0)
    sizes(fields, "H", least=1)
    x_time, x_row, y_time, y_row = sizes(fields, "x_time", "x_row", "y_time", "y_row", least=0)
    if fields["reverse"] not in (0, 1):
        raise ValueError(f"reverse is {fields['reverse']}: expected 0 or 1")
    if fields["h0_stride"] not in (0, output):
        raise ValueError(f"h0_stride is {fields['h0_stride']}: expected 0 or {output}")
    steps = t > 0 and b > 0
    return [
        region(fields["x"], (t - 1) * x_time + (b - 1) * x_row + i if steps else 0),
        Region(fields["y"], (t - 1) * y_time + (b - 1) * y_row + output if steps else 0, write=True),
        Region(fields["h0"], b * output if fields["h0_stride"] else output),
        Region(fields["h"], b * output, write=True),
        Region(fields["lengths"], b),
        Region(fields["keep"], t * b),
    ]


def check_activations(fields: Fields, count: int) -> None:
    """Raises ValueError for a function that is none, or for what is not the bits of a float32."""
    known = functions.ACTIVATIONS.values()
    for k in range(count):
        if fields[f"function{k}"] not in known:
            raise ValueError(f"function{k} is {fields[f'function{k}']}: not an activation")
    for name in ("clip", *(f"{kind}{k}" for kind in ("alpha", "beta") for k in range(count))):
        if not -(1 << 31) <= fields[name] < 1 << 31:
            raise ValueError(f"{name} is {fields[name]}: expected the bits of a float32")


def activation_fields(attrs: Mapping[str, Any], direction: int, count: int) -> dict[str, int]:
    """The functions of one direction; no clip is a limit of infinity."""
    found = {"clip": float_bits(attrs["clip"] or np.inf)}
    for k in range(count):
        n = direction * count + k
        found[f"function{k}"] = functions.activation(attrs["activations"][n])
        found[f"alpha{k}"] = float_bits(attrs["activation_alpha"][n])
        found[f"beta{k}"] = float_bits(attrs["activation_beta"][n])
    return found


def sequence_fields(
    node: Node, to: Lowering, names: Mapping[str, str], direction: int, directions: int, output: int, y: int, h: int
) -> dict[str, int]:
    """The operands and fields of the walk; `names` gives the inputs by role, y and h are where results go."""
    time, batch, width = to.shape(names["x"])
    h0 = names["h0"]
    rows = to.shape(h0)[1] if h0 else 0
    backward = node.attrs["direction"] == "reverse" or direction == 1
    if names["lengths"] and batch and direction == 0:
        to.emit(BOUND, indices=to.operand(names["lengths"]), count=batch, size=time + 1, backward=0)
    return {
        "x": to.operand(names["x"]),
        "y": y if y == ABSENT else y + operand(0, direction * batch * output),
        "h0": to.operand(h0) + operand(0, direction * rows * output) if h0 else ABSENT,
        "h": h if h == ABSENT else h + operand(0, direction * batch * output),
        "lengths": to.operand(names["lengths"]),
        "keep": to.operand(names["keep"]),
        "T": time,
        "B": batch,
        "I": width,
        "reverse": int(backward),
        "h0_stride": output if h0 and rows == batch else 0,
        "x_time": batch * width,
        "x_row": width,
        "y_time": directions * batch * output,
        "y_row": output,
    }


def constant(node: Node, to: Lowering, name: str, role: str) -> Floats | None:
    """A weight; None where it is absent.

    Raises:
        UnsupportedError: it is computed while the model runs.
    """
    if not name:
        return None
    array = to.constant(name)
    if array is None:
        raise UnsupportedError(
            f"{node.where}: {role} ({name!r}) is computed at run time; expected a constant. "
            "Export the model with its weights as initializers."
        )
    return array.astype(np.float32, copy=False)


def bias_sum(b: Floats | None, size: int) -> Floats:
    """The bias of the input product and of the recurrent one, (2 * size,) -> (size,), added once in float32."""
    return np.zeros(size, np.float32) if b is None else (b[:size] + b[size:]).astype(np.float32)


def pack_gates(matrix: Floats, bias: Floats, gates: int) -> Floats:
    """matrix (gates * H, K), bias (gates * H,) -> (blocks of 16 units, 1 + K, gates, 16), the bias before k = 0."""
    units = len(bias) // gates
    columns = np.concatenate([bias[:, None], matrix], axis=1).reshape(gates, units, -1)
    filled = np.zeros((gates, padded(units), columns.shape[2]), np.float32)
    filled[:, :units] = columns
    return np.ascontiguousarray(filled.reshape(gates, -1, LANES, columns.shape[2]).transpose(1, 3, 0, 2))
