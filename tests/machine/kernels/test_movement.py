from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgelstm.errors import UnsupportedError
from edgelstm.program.lowering import lower
from tests.machine.kernels.harness import graph, reference, run


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def instructions(op: str, x: np.ndarray, **attrs) -> int:
    return len(lower(graph(op, [x], **attrs)).code)


@pytest.mark.parametrize("perm", list(itertools.permutations(range(4))), ids=str)
def test_transpose(perm: tuple[int, ...]) -> None:
    x = numbers(3, 2, 17, 1)
    assert np.array_equal(run("transpose", x, perm=perm), np.transpose(x, perm))


def test_transpose_of_six_axes_and_of_integers() -> None:
    x = numbers(2, 3, 2, 3, 2, 3).astype(np.int64) - 100
    perm = (5, 3, 1, 0, 2, 4)
    assert np.array_equal(run("transpose", x, perm=perm), np.transpose(x, perm))


def test_more_axes_than_an_instruction_holds_are_refused_by_name() -> None:
    x = numbers(2, 2, 2, 2, 2, 2, 2)
    with pytest.raises(UnsupportedError, match="7 axes"):
        run("transpose", x, perm=(6, 5, 4, 3, 2, 1, 0))


@pytest.mark.parametrize(
    ("axes", "starts", "stops", "steps"),
    [
        ((0,), (1,), (4,), (1,)),
        ((1,), (8,), (-1,), (-1,)),
        ((0, 2), (6, 0), (-1, 5), (-2, 2)),
        ((0, 1, 2), (0, 3, 4), (7, 9, 5), (3, 4, 1)),
        ((2,), (3,), (3,), (1,)),
    ],
)
def test_slice(axes: tuple[int, ...], starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]) -> None:
    x = numbers(7, 9, 5)
    index: list[slice] = [slice(None)] * 3
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        index[axis] = slice(start, None if stop < 0 else stop, step)
    got = run("slice", x, axes=axes, starts=starts, stops=stops, steps=steps)
    assert np.array_equal(got, x[tuple(index)])


def test_what_stays_compact_costs_no_instruction() -> None:
    x = numbers(7, 1, 5)
    assert instructions("reshape", x, shape=(35,)) == 0
    assert instructions("slice", x, axes=(0,), starts=(2,), stops=(6,), steps=(1,)) == 0
    assert instructions("transpose", x, perm=(1, 0, 2)) == 0
    assert instructions("broadcast", x, shape=(1, 7, 1, 5)) == 0
    assert instructions("identity", x) == 0
    assert instructions("slice", x, axes=(2,), starts=(0,), stops=(4,), steps=(1,)) == 1


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat(axis: int) -> None:
    parts = []
    for size in (2, 0, 1, 4):
        shape = [3, 5, 17]
        shape[axis] = size
        parts.append(np.random.default_rng(size).standard_normal(shape).astype(np.float32))
    assert np.array_equal(run("concat", *parts, axis=axis), np.concatenate(parts, axis))


@pytest.mark.parametrize(
    ("shape", "target"), [((3, 1), (3, 40)), ((1,), (2, 3)), ((3, 1, 5), (2, 3, 4, 5)), ((), (17,)), ((2, 1), (2, 0))]
)
def test_broadcast(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    x = numbers(*shape) if shape else np.array(3, np.float32)
    assert np.array_equal(run("broadcast", x, shape=target), np.broadcast_to(x, target))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [(1, 2, 3, 2, 0, 4), (0, 0, 5, 0, 0, 0), (2, 0, 0, 0, 3, 0), (0, 0, 0, 0, 0, 0)])
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    x = numbers(3, 4, 6)
    assert np.array_equal(
        run("pad", x, pads=pads, mode=mode, value=2.5), reference("pad", x, pads=pads, mode=mode, value=2.5)
    )


def test_pad_of_integers_and_of_nothing() -> None:
    x = np.array([[1, -2]], np.int64)
    assert run("pad", x, pads=(0, 1, 0, 1), value=-7.0).tolist() == [[-7, 1, -2, -7]]
    empty = np.zeros((0, 2), np.float32)
    assert run("pad", empty, pads=(2, 0, 1, 0), value=1.0).tolist() == [[1.0, 1.0]] * 3


@pytest.mark.parametrize(("mode", "size"), [("reflect", 3), ("edge", 0)])
def test_padding_that_has_nothing_to_repeat_is_refused(mode: str, size: int) -> None:
    with pytest.raises(UnsupportedError, match="padding of 3 along axis 0"):
        run("pad", np.zeros((size, 2), np.float32), pads=(3, 0, 0, 0), mode=mode)


def test_numbers_in_order_cost_no_instruction() -> None:
    made = graph("arange", [], shape=(19,))
    assert len(lower(made).code) == 0
    assert run("arange", shape=(19,)).tolist() == list(range(19))
