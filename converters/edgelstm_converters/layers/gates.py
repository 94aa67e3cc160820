"""Weights of one direction of one recurrent layer, brought from each layout to the order of ONNX.

PyTorch: weight_ih (G*H, I), weight_hh (G*H, H or P), bias_ih and bias_hh (G*H), weight_hr (P, H);
Keras: kernel (I, G*H), recurrent_kernel (H, G*H), bias (G*H) or, for a GRU that resets after the
product, (2, G*H); ONNX: W (D, G*H, I), R (D, G*H, H), B (D, 2*G*H), P (D, 3*H).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelstm.errors import InputError
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.layers.entry import Entry


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction in ONNX order: w (G*H, I), r (G*H, H or P), b (2*G*H), p (3*H), proj (P, H)."""

    w: FloatArray
    r: FloatArray
    b: FloatArray | None = None
    p: FloatArray | None = None
    proj: FloatArray | None = None


def reorder(array: FloatArray, order: Sequence[int]) -> FloatArray:
    """Blocks of the first axis in another order: block k of the result is block order[k]."""
    blocks = array.reshape(len(order), -1, *array.shape[1:])
    return np.ascontiguousarray(blocks[list(order)]).reshape(array.shape)


def torch_direction(entry: Entry, order: Sequence[int], suffix: str) -> Direction:
    """Reads weight_ih, weight_hh, bias_ih, bias_hh and, projected, weight_hr, each with `suffix`.

    Raises:
        InputError: an array is missing or does not fit; the message names it.
    """
    gates = len(order)
    r = entry.need(f"weight_hh{suffix}")
    _need_rank(entry, f"weight_hh{suffix}", r, 2)
    rows = r.shape[0]
    if rows == 0 or rows % gates:
        raise InputError(
            f"{entry.where}: array {entry.name_of(f'weight_hh{suffix}')!r}: expected rows that are a multiple of "
            f"{gates} (the gates of this cell), got shape {r.shape}"
        )
    hidden = rows // gates
    proj = entry.array(f"weight_hr{suffix}", (None, hidden)) if gates == 4 else None
    output = hidden if proj is None else proj.shape[0]
    entry.fit(entry.name_of(f"weight_hh{suffix}"), r.shape, (rows, output))
    w = entry.need(f"weight_ih{suffix}", (rows, None))
    biases = [entry.array(f"bias_{part}{suffix}", (rows,)) for part in ("ih", "hh")]
    return Direction(reorder(w, order), reorder(r, order), _join(entry, biases, order, suffix), None, proj)


def keras_direction(entry: Entry, order: Sequence[int], side: str) -> Direction:
    """Reads kernel, recurrent_kernel and bias, each with `side` ("" or "backward_") in front.

    A bias (2, G*H) is taken as input bias and recurrent bias, a bias (G*H) as input bias alone.

    Raises:
        InputError: an array is missing or does not fit; the message names it.
    """
    gates = len(order)
    r = entry.need(f"{side}recurrent_kernel")
    _need_rank(entry, f"{side}recurrent_kernel", r, 2)
    hidden = r.shape[0]
    entry.fit(entry.name_of(f"{side}recurrent_kernel"), r.shape, (hidden, gates * hidden))
    w = entry.need(f"{side}kernel", (None, gates * hidden))
    bias = entry.array(f"{side}bias")
    b = None
    if bias is not None:
        two = gates == 3 and bias.ndim == 2
        entry.fit(entry.name_of(f"{side}bias"), bias.shape, (2, gates * hidden) if two else (gates * hidden,))
        halves = (bias[0], bias[1]) if two else (bias, np.zeros_like(bias))
        b = np.concatenate([reorder(half, order) for half in halves])
    return Direction(reorder(w.T, order), reorder(r.T, order), b)


def onnx_directions(entry: Entry, gates: int) -> list[Direction]:
    """Reads W, R, B and, for the LSTM, P, which hold all directions.

    Raises:
        InputError: an array is missing or does not fit; the message names it.
    """
    r = entry.need("R")
    _need_rank(entry, "R", r, 3)
    count, hidden = r.shape[0], r.shape[2]
    if count not in (1, 2):
        raise InputError(
            f"{entry.where}: array {entry.name_of('R')!r}: expected 1 or 2 directions, got shape {r.shape}"
        )
    entry.fit(entry.name_of("R"), r.shape, (count, gates * hidden, hidden))
    w = entry.need("W", (count, gates * hidden, None))
    b = entry.array("B", (count, 2 * gates * hidden))
    p = entry.array("P", (count, 3 * hidden)) if gates == 4 else None
    return [Direction(w[d], r[d], None if b is None else b[d], None if p is None else p[d]) for d in range(count)]


def _join(entry: Entry, biases: Sequence[FloatArray | None], order: Sequence[int], suffix: str) -> FloatArray | None:
    given = [bias for bias in biases if bias is not None]
    if not given:
        return None
    if len(given) != len(biases):
        missing = "ih" if biases[0] is None else "hh"
        raise InputError(
            f"{entry.where}: there is no array for {entry.expected(f'bias_{missing}{suffix}')}, but its twin is "
            "there: a cell has both biases or none"
        )
    return np.concatenate([reorder(bias, order) for bias in given])


def _need_rank(entry: Entry, role: str, array: FloatArray, rank: int) -> None:
    if array.ndim != rank or 0 in array.shape:
        raise InputError(
            f"{entry.where}: array {entry.name_of(role)!r}: expected {rank} axes, none of size 0, got {array.shape}"
        )
