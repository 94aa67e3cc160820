"""The LSTM instruction: one direction of one layer over a sequence.

Weights are packed so that one pass over [x, h] gives all gates of 16 units in registers: for each
block of 16 units the bias (4 gates of 16 lanes), then for each k the 4 gates of 16 lanes. Units are
filled up with zeros to whole blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelstm.graph.ir import Node
from edgelstm.graph.shapes import RECURRENT_INPUTS
from edgelstm.program import functions
from edgelstm.program.lower.recurrent import (
    ACTIVATION_FIELDS,
    AHEAD,
    AHEAD_UNITS,
    SEQUENCE_FIELDS,
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
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import ABSENT, LANES, Fields, Opcode, Region, operand

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

Floats = npt.NDArray[np.float32]

GATES = 4  # i, o, f, c


def check_lstm(fields: Fields) -> list[Region]:
    """What holds however the weights are stored.

    Raises:
        ValueError: a field is out of range.
    """
    (p,) = sizes(fields, "P")
    regions = check_sequence(fields, p)
    check_activations(fields, 3)
    batch, h = fields["B"], fields["H"]
    if fields["c0_stride"] not in (0, h):
        raise ValueError(f"c0_stride {fields['c0_stride']}: expected 0 or {h}")
    if fields["input_forget"] not in (0, 1) or fields["plain"] not in (0, 1):
        raise ValueError("input_forget and plain must be 0 or 1")
    if fields["proj"] == ABSENT and p != h:
        raise ValueError(f"P is {p} and H {h}: only a projection may change the size")
    if fields["plain"] and (fields["p"] != ABSENT or fields["proj"] != ABSENT):
        raise ValueError("plain, but with peepholes or a projection")
    regions += [
        Region(fields["c0"], batch * h if fields["c0_stride"] else h),
        Region(fields["c"], batch * h, write=True),
        Region(fields["p"], 3 * padded(h)),
    ]
    return regions


def _check(fields: Fields) -> list[Region]:
    regions = check_lstm(fields)
    i, h, p = fields["I"], fields["H"], fields["P"]
    return [
        *regions,
        region(fields["w"], padded(h) * GATES * (1 + i + p)),
        Region(fields["proj"], padded(p) * h),
        region(fields["work"], lstm_work(fields), write=True),
    ]


LSTM = Opcode(
    1,
    "lstm",
    (
        *("x", "w", "h0", "c0", "y", "h", "c", "lengths", "keep", "p", "proj", "work"),
        *SEQUENCE_FIELDS,
        *("P", "c0_stride", "input_forget", "plain"),
        *ACTIVATION_FIELDS[3],
    ),
    _check,
    ("x", "w", "h0", "c0", "y", "h", "c", "lengths", "keep", "p", "proj", "work"),
)


def work_words(h: int, p: int, plain: bool) -> int:
    """Two rows of h, one of c and, unless plain, the gates and the h before its projection."""
    return 2 * padded(p) + padded(h) * (1 if plain else 2 + GATES)


def lstm_work(fields: Fields) -> int:
    """What one instruction needs: for a row alone, or for the rows that go together."""
    h, plain = fields["H"], bool(fields["plain"])
    ahead = AHEAD * GATES * padded(h) if plain and fields["T"] >= AHEAD and h >= AHEAD_UNITS else 0
    alone = work_words(h, fields["P"], plain) + ahead
    return max(alone, together_words(fields, 3)) if plain else alone


def pack(w: Floats, r: Floats, b: Floats | None) -> Floats:
    """w (4H, I), r (4H, P), b (8H,) in ONNX's gate order -> blocks of 16 units, k, gate, lane."""
    return pack_gates(np.concatenate([w, r], axis=1), bias_sum(b, len(w)), GATES)


def pack_rows(rows: Floats) -> Floats:
    """(n, H) -> (n, H filled up to whole vectors)."""
    return np.pad(rows, ((0, 0), (0, padded(rows.shape[1]) - rows.shape[1])))


def pack_projection(proj: Floats) -> Floats:
    """proj (P, H) -> (blocks of 16 outputs, H, 16)."""
    filled = np.pad(proj, ((0, padded(len(proj)) - len(proj)), (0, 0)))
    return np.ascontiguousarray(filled.reshape(-1, LANES, proj.shape[1]).transpose(0, 2, 1))


ROLES = RECURRENT_INPUTS["lstm"]


def lstm_fields(node: Node, to: Lowering, d: int, results: Sequence[int]) -> dict[str, int]:
    """The fields of one direction that do not depend on how the products' weights are stored; `results` are y, h, c."""
    names = dict(zip(ROLES, node.inputs, strict=True))
    attrs: Mapping[str, Any] = node.attrs
    hidden, batch = int(attrs["hidden_size"]), to.shape(names["x"])[1]
    directions, _, output = to.shape(names["r"])
    p = constant(node, to, names["p"], "p")
    y, h, c = results
    chosen = activation_fields(attrs, d, 3)
    plain = (
        p is None
        and not names["proj"]
        and not attrs["clip"]
        and not attrs["input_forget"]
        and [chosen[f"function{k}"] for k in range(3)] == [functions.SIGMOID, functions.TANH, functions.TANH]
    )
    return {
        **sequence_fields(node, to, names, d, directions, output, y, h),
        **chosen,
        "c0": _start(to, names["c0"], d, hidden),
        "c0_stride": hidden if names["c0"] and to.shape(names["c0"])[1] == batch else 0,
        "c": c if c == ABSENT else c + operand(0, d * batch * hidden),
        "p": ABSENT if p is None else to.pack(("peepholes", d, names["p"]), partial(pack_rows, p[d].reshape(3, -1))),
        "H": hidden,
        "P": output,
        "input_forget": int(attrs["input_forget"]),
        "plain": int(plain),
    }


def lower_lstm(node: Node, to: Lowering) -> None:
    """One instruction per direction."""
    names = dict(zip(ROLES, node.inputs, strict=True))
    w, r, b, proj = (constant(node, to, names[role], role) for role in ("w", "r", "b", "proj"))
    assert w is not None
    assert r is not None
    results = [to.result(name) for name in node.outputs]
    for d in range(len(w)):
        key = ("lstm", d, *(names[role] for role in ("w", "r", "b")))
        fields = lstm_fields(node, to, d, results)
        to.emit(
            LSTM,
            **fields,
            w=to.pack(key, partial(pack, w[d], r[d], None if b is None else b[d])),
            proj=ABSENT
            if proj is None
            else to.pack(("projection", d, names["proj"]), partial(pack_projection, proj[d])),
            work=to.work(lstm_work(fields)),
        )


def _start(to: Lowering, name: str, direction: int, size: int) -> int:
    return ABSENT if not name else to.operand(name) + operand(0, direction * to.shape(name)[1] * size)


LOWER = {"lstm": lower_lstm}
OPCODES = (LSTM,)
