"""What the recurrent cells share: directions, sequence lengths, activations with clip, and the record of a run.

A cell is a step function: it takes the input of one moment (B, I) and the carried states, each (B, n), and
gives the new states and its gates by name. Everything about time is here, the equations are in the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from edgelstm.errors import InputError
from edgelstm.reference.activations import activate
from edgelstm.reference.arguments import Array, Attrs, number, numbers, text, texts

Step: TypeAlias = Callable[..., tuple[tuple[Array, ...], Mapping[str, Array]]]
Record: TypeAlias = Callable[[str, int, int, Array], None]
"""Called with (name of a gate or state, direction, time, value of shape (B, n)) at every moment."""
Function: TypeAlias = Callable[[Array], Array]

BACKWARD = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def activations(attrs: Attrs, direction: int, count: int) -> tuple[Function, ...]:
    """The `count` activation functions of one direction, each with its clip, alpha and beta.

    The specification applies clip "to the input of activations": to all of them, h(C) of the LSTM included.
    """
    limit = number(attrs, "clip")
    chosen = range(direction * count, (direction + 1) * count)
    names = texts(attrs, "activations")
    alphas, betas = numbers(attrs, "activation_alpha"), numbers(attrs, "activation_beta")
    return tuple(partial(_activate, names[k], limit, alphas[k], betas[k]) for k in chosen)


def _activate(name: str, limit: float, alpha: float, beta: float, x: Array) -> Array:
    return activate(name, np.clip(x, -limit, limit) if limit else x, alpha, beta)


def start(x: Array, state: Array | None, directions: int, size: int) -> Array:
    """An initial state (D, B, size) in the dtype of x: the given one, repeated if it has a single row, or zeros."""
    shape = (directions, x.shape[1], size)
    return np.zeros(shape, x.dtype) if state is None else np.broadcast_to(state, shape).astype(x.dtype)


def unroll(
    steps: Sequence[Step],
    attrs: Attrs,
    x: Array,
    lengths: Array | None,
    states: Sequence[Array],
    keep: Array | None = None,
    record: Record | None = None,
) -> tuple[Array, ...]:
    """Run one step function per direction over a sequence.

    Args:
        steps: D step functions.
        attrs: gives the direction.
        x: (T, B, I).
        lengths: (B,) integers, or None for T. Row b takes part in moments t < lengths[b]: past them y is 0
            and the states stay, so a backward row starts at its own end, and a row of length 0 ends where it began.
            InputError where one is below 0 or above T.
        states: the initial states, each (D, B, n); the first one is the output.
        keep: (T, B) booleans, or None for all false. Where it is true, the row takes no step: its states stay, and y
            is the output before.
        record: told every gate and state, 0 for rows that take no part.

    Returns:
        y (T, D, B, n), then the final states, each (D, B, n).
    """
    moments, batch = x.shape[:2]
    live = np.ones((moments, batch, 1), bool)
    steady = np.zeros_like(live) if keep is None else keep.astype(bool)[:, :, None]
    if lengths is not None:
        check_lengths(lengths, moments)
        live = (np.arange(moments)[:, None] < lengths)[:, :, None]
    y = np.zeros((moments, len(steps), batch, states[0].shape[-1]), x.dtype)
    last = tuple(state.copy() for state in states)
    for direction, backward in enumerate(BACKWARD[text(attrs, "direction")]):
        now = tuple(state[direction] for state in states)
        for t in reversed(range(moments)) if backward else range(moments):
            new, gates = steps[direction](x[t], *now)
            steps_on = live[t] & ~steady[t]
            now = tuple(np.where(steps_on, after, before) for after, before in zip(new, now, strict=True))
            y[t, direction] = np.where(live[t], now[0], 0)
            if record is not None:
                for name, value in gates.items():
                    record(name, direction, t, np.where(steps_on, value, 0))
        for final, value in zip(last, now, strict=True):
            final[direction] = value
    return (y, *last)


def check_lengths(lengths: Array, moments: int) -> None:
    """Every row's length is one that the sequence has.

    Raises:
        InputError: one is below 0 or above the number of moments.
    """
    if lengths.size and not (lengths.min() >= 0 and lengths.max() <= moments):
        raise InputError(f"lengths: expected 0 to {moments}, got {lengths.tolist()}")
