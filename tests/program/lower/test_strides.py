from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.program.lower import strides
from edgelstm.program.opcodes import operand

WALKS = st.integers(1, 4).flatmap(
    lambda rank: st.tuples(
        st.lists(st.integers(1, 4), min_size=rank, max_size=rank),
        st.lists(st.integers(-12, 12), min_size=rank, max_size=rank),
    )
)


def positions(sizes: list[int], steps: list[int], start: int = 0) -> list[int]:
    return [
        start + sum(i * s for i, s in zip(index, steps, strict=True)) for index in itertools.product(*map(range, sizes))
    ]


@settings(deadline=None)
@given(WALKS, st.integers(0, 150))
def test_a_walk_announces_exactly_the_words_between_its_ends(walk: tuple[list[int], list[int]], start: int) -> None:
    sizes, steps = walk
    words = positions(sizes, steps, start)
    if min(words) < 0:
        with pytest.raises(ValueError, match="before its operand"):
            strides.walked(operand(2, start), sizes, steps)
    else:
        region = strides.walked(operand(2, start), sizes, steps)
        assert (region.operand, region.words, region.write) == (
            operand(2, min(words)),
            max(words) - min(words) + 1,
            False,
        )


@settings(deadline=None)
@given(WALKS)
def test_a_write_that_is_let_through_never_falls_on_itself(walk: tuple[list[int], list[int]]) -> None:
    sizes, steps = walk
    try:
        region = strides.walked_once(operand(2, 500), sizes, steps)
    except ValueError:
        return
    words = positions(sizes, steps, 500)
    assert len(set(words)) == len(words)
    assert region.write
    assert region.words == max(words) - min(words) + 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms())
def test_every_box_of_a_compact_tensor_is_let_through(shape: list[int], random) -> None:
    order = list(range(len(shape)))
    random.shuffle(order)
    steps = [random.choice((-1, 1)) * stride for stride in strides.compact(shape)]
    sizes = [random.randint(1, size) for size in shape]
    strides.walked_once(operand(2, 500), [sizes[i] for i in order], [steps[i] for i in order])


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=0, max_size=5), st.data())
def test_collapse_keeps_the_walk(sizes: list[int], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    shape = [size if kept else 1 for size, kept in zip(sizes, keep, strict=True)]
    first, second = strides.compact(sizes), strides.broadcast_strides(shape, sizes)
    merged, one, two = strides.collapse(sizes, first, second)
    assert positions(list(merged), list(one)) == positions(sizes, list(first))
    assert positions(list(merged), list(two)) == positions(sizes, list(second))


@pytest.mark.parametrize("value", [-1, 3, 4 * 10 + 3])
def test_what_is_no_operand_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="not an operand"):
        strides.region(value, 1)


def test_compact() -> None:
    assert strides.compact((2, 3, 4)) == (12, 4, 1)
    assert strides.is_compact((2, 1, 4), (4, 99, 1))
    assert not strides.is_compact((2, 1, 4), (5, 99, 1))
    assert np.zeros((2, 3, 4), np.int8).strides == strides.compact((2, 3, 4))
