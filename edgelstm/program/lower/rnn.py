"""The RNN instruction: one direction of one plain recurrent layer over a sequence.

Weights are packed in blocks of 16 units: the bias, then for each k of [x, h] 16 lanes. Units are
filled up with zeros to whole blocks.
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
    bias_sum,
    check_activations,
    check_sequence,
    constant,
    pack_gates,
    padded,
    sequence_fields,
    together_words,
)
from edgelstm.program.lower.strides import flag, region
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

ROLES = RECURRENT_INPUTS["rnn"]


def check_rnn(fields: Fields) -> list[Region]:
    """What holds however the weights are stored.

    Raises:
        ValueError: a field is out of range.
    """
    regions = check_sequence(fields, fields["H"])
    check_activations(fields, 1)
    flag(fields, "plain")
    return regions


def _check(fields: Fields) -> list[Region]:
    regions = check_rnn(fields)
    units, inputs = fields["H"], fields["I"]
    return [
        *regions,
        region(fields["w"], padded(units) * (1 + inputs + units)),
        region(fields["work"], rnn_work(fields), write=True),
    ]


RNN = Opcode(
    3,
    "rnn",
    (*("x", "w", "h0", "y", "h", "lengths", "keep", "work"), *SEQUENCE_FIELDS, "plain", *ACTIVATION_FIELDS[1]),
    _check,
    ("x", "w", "h0", "y", "h", "lengths", "keep", "work"),
)


def work_words(units: int) -> int:
    """Two rows of h."""
    return 2 * padded(units)


def rnn_work(fields: Fields) -> int:
    """What one instruction needs: for a row alone, or for the rows that go together."""
    return max(work_words(fields["H"]), together_words(fields, 2))


def pack(w: Floats, r: Floats, b: Floats | None) -> Floats:
    """w (H, I), r (H, H), b (2H,) -> (blocks of 16 units, 1 + I + H, 1, 16)."""
    return pack_gates(np.concatenate([w, r], axis=1), bias_sum(b, len(w)), 1)


def rnn_fields(node: Node, to: Lowering, d: int, results: Sequence[int]) -> dict[str, int]:
    """The fields of one direction that do not depend on how the products' weights are stored; `results` are y, h."""
    names = dict(zip(ROLES, node.inputs, strict=True))
    directions, _, units = to.shape(names["r"])
    chosen = activation_fields(node.attrs, d, 1)
    return {
        **sequence_fields(node, to, names, d, directions, units, *results),
        **chosen,
        "H": units,
        "plain": int(chosen["function0"] == functions.TANH and not node.attrs["clip"]),
    }


def lower_rnn(node: Node, to: Lowering) -> None:
    """One instruction per direction.

    Raises:
        UnsupportedError: the weights are computed while the model runs.
    """
    names = dict(zip(ROLES, node.inputs, strict=True))
    w, r, b = (constant(node, to, names[role], role) for role in ("w", "r", "b"))
    assert w is not None
    assert r is not None
    results = [to.result(name) for name in node.outputs]
    for d in range(len(w)):
        key = ("rnn", d, *(names[role] for role in ("w", "r", "b")))
        fields = rnn_fields(node, to, d, results)
        to.emit(
            RNN,
            **fields,
            w=to.pack(key, partial(pack, w[d], r[d], None if b is None else b[d])),
            work=to.work(rnn_work(fields)),
        )


OPCODES = (RNN,)
LOWER = {"rnn": lower_rnn}
