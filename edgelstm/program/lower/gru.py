"""The GRU instruction: one direction of one layer over a sequence.

Weights are packed in blocks of 16 units, filled up with zeros to whole blocks. A block starts with
four vectors of biases: z and r (both biases added), the candidate's for x, the candidate's for h.
Then, for each k of x, the gates z, r and n (16 lanes each), and
- reset after the product: for each k of h, z, r and n;
- reset before it: for each k of h, z and r; then for each k of r * h, n. The candidate has one sum
  there, which starts at both biases, and the fourth bias is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.graph.shapes import RECURRENT_INPUTS
from edgelstm.program import functions
from edgelstm.program.lower.recurrent import (
    ACTIVATION_FIELDS,
    SEQUENCE_FIELDS,
    Floats,
    activation_fields,
    check_activations,
    check_sequence,
    constant,
    padded,
    sequence_fields,
    together_words,
)
from edgelstm.program.lower.strides import flag, region
from edgelstm.program.opcodes import LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

GATES = 3  # z, r, n
BIASES = 4  # z, r, n of x, n of h
ROLES = RECURRENT_INPUTS["gru"]


def check_gru(fields: Fields) -> list[Region]:
    """What holds however the weights are stored.

    Raises:
        ValueError: a field is out of range.
    """
    regions = check_sequence(fields, fields["H"])
    check_activations(fields, 2)
    flag(fields, "reset_after", "plain")
    return regions


def _check(fields: Fields) -> list[Region]:
    regions = check_gru(fields)
    units, inputs = fields["H"], fields["I"]
    return [
        *regions,
        region(fields["w"], padded(units) * (BIASES + GATES * (inputs + units))),
        region(fields["work"], gru_work(fields), write=True),
    ]


GRU = Opcode(
    2,
    "gru",
    (
        *("x", "w", "h0", "y", "h", "lengths", "keep", "work"),
        *SEQUENCE_FIELDS,
        "reset_after",
        "plain",
        *ACTIVATION_FIELDS[2],
    ),
    _check,
    ("x", "w", "h0", "y", "h", "lengths", "keep", "work"),
)


def work_words(units: int, reset_after: bool, plain: bool) -> int:
    """Two rows of h; the sums of all gates, unless they stay in registers; r * h."""
    return padded(units) * (2 + (0 if reset_after and plain else 4))


def gru_work(fields: Fields) -> int:
    """What one instruction needs: for a row alone, or for the rows that go together."""
    after, plain = bool(fields["reset_after"]), bool(fields["plain"])
    alone = work_words(fields["H"], after, plain)
    return max(alone, together_words(fields, 2)) if after and plain else alone


def pack(w: Floats, r: Floats, b: Floats | None, reset_after: bool) -> Floats:
    """w (3H, I), r (3H, H), b (6H,) in ONNX's order z, r, h -> (blocks of 16 units, 4 + 3 (I + H), 16)."""
    units = len(w) // GATES
    biases = np.zeros((6, units), np.float32) if b is None else b.reshape(6, units)
    first = biases[:3] + biases[3:]  # z, r and, when there is one sum, n
    fourth = np.zeros(units, np.float32)
    if reset_after:
        first, fourth = np.stack([first[0], first[1], biases[2]]), biases[5]
    of_x, of_h = w.reshape(GATES, units, -1), r.reshape(GATES, units, units)
    columns = [*first, fourth, *_by_k(of_x)]
    columns += _by_k(of_h) if reset_after else [*_by_k(of_h[:2]), *_by_k(of_h[2:])]
    filled = np.zeros((len(columns), padded(units)), np.float32)
    filled[:, :units] = columns
    return np.ascontiguousarray(filled.reshape(len(columns), -1, LANES).transpose(1, 0, 2))


def _by_k(gates: Floats) -> list[Floats]:
    """(gates, H, K) -> K times gates rows of H."""
    return list(gates.transpose(2, 0, 1).reshape(-1, gates.shape[1]))


def gru_fields(node: Node, to: Lowering, d: int, results: Sequence[int]) -> dict[str, int]:
    """The fields of one direction that do not depend on how the products' weights are stored; `results` are y, h."""
    names = dict(zip(ROLES, node.inputs, strict=True))
    directions, _, units = to.shape(names["r"])
    chosen = activation_fields(node.attrs, d, 2)
    usual = (chosen["function0"], chosen["function1"]) == (functions.SIGMOID, functions.TANH)
    return {
        **sequence_fields(node, to, names, d, directions, units, *results),
        **chosen,
        "H": units,
        "reset_after": int(bool(node.attrs["linear_before_reset"])),
        "plain": int(usual and not node.attrs["clip"]),
    }


def lower_gru(node: Node, to: Lowering) -> None:
    """One instruction per direction.

    Raises:
        UnsupportedError: the weights are computed while the model runs.
    """
    names = dict(zip(ROLES, node.inputs, strict=True))
    w, r, b = (constant(node, to, names[role], role) for role in ("w", "r", "b"))
    assert w is not None
    assert r is not None
    reset_after = bool(node.attrs["linear_before_reset"])
    results = [to.result(name) for name in node.outputs]
    for d in range(len(w)):
        key = ("gru", d, reset_after, *(names[role] for role in ("w", "r", "b")))
        fields = gru_fields(node, to, d, results)
        to.emit(
            GRU,
            **fields,
            w=to.pack(key, partial(pack, w[d], r[d], None if b is None else b[d], reset_after)),
            work=to.work(gru_work(fields)),
        )


OPCODES = (GRU,)
LOWER = {"gru": lower_gru}
