"""Greedy CTC decoding against its definition, in one go and in pieces."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.errors import InputError, StateError
from edgelstm.heads.ctc import CTC

LABELS = 4


def naive(best, blank):
    """Merge repeats, then leave out blanks."""
    return [label for label, _ in itertools.groupby(best) if label != blank]


def frames_of(best):
    rng = np.random.default_rng(5)
    frames = rng.normal(size=(len(best), LABELS))
    frames[np.arange(len(best)), best] = 9.0
    return frames


@given(st.lists(st.integers(0, LABELS - 1), max_size=20), st.integers(-LABELS, LABELS - 1))
@settings(max_examples=150, deadline=None)
def test_decode_is_the_definition(best, blank):
    best = np.array(best, np.int64)
    found = CTC(LABELS, blank).decode(frames_of(best))
    assert found.dtype == np.int64
    assert naive(best.tolist(), blank % LABELS) == found.tolist()


@given(st.lists(st.lists(st.integers(0, LABELS - 1), max_size=6), max_size=6), st.integers(0, LABELS - 1))
@settings(max_examples=100, deadline=None)
def test_pieces_give_what_the_whole_gives(pieces, blank):
    ctc = CTC(LABELS, blank)
    whole = frames_of(np.array(list(itertools.chain(*pieces)), np.int64))
    in_pieces, by_steps, carried = ctc.stream(), ctc.stream(), ctc.stream()
    found, start = [], 0
    for piece in pieces:
        part = whole[start : start + len(piece)]
        found += in_pieces.run(part).tolist()
        start += len(piece)
        moved = ctc.stream()
        moved.state = carried.state
        carried = moved
        assert found[len(found) - len(carried.run(part)) :] == [x for x in map(by_steps.step, part) if x is not None]
    assert ctc.decode(whole).tolist() == found


def test_a_blank_between_repeats_keeps_both():
    assert CTC(LABELS).decode(frames_of([1, 1, 0, 1])).tolist() == [1, 1]


def test_of_equal_scores_the_lower_label_wins():
    assert CTC(3, blank=-1).decode([[1.0, 1.0, 1.0]]).tolist() == [0]


def test_batches_are_cut_at_their_lengths():
    batch = np.stack([frames_of([1, 2, 3]), frames_of([2, 2, 3])])
    batch[1, 2] = np.nan
    assert [[1, 2, 3], [2]] == [row.tolist() for row in CTC(LABELS).decode(batch, lengths=[3, 2])]


def test_a_refused_frame_changes_nothing():
    stream = CTC(LABELS).stream()
    stream.step(frames_of([2])[0])
    with pytest.raises(InputError, match="NaN in frame 1"):
        stream.run(np.concatenate([frames_of([3]), np.full((1, LABELS), np.nan)]))
    assert stream.step(frames_of([2])[0]) is None
    stream.reset()
    assert stream.step(frames_of([2])[0]) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CTC(0), "labels"),
        (lambda: CTC(4, 4), "blank: expected an index into 4 labels, got 4"),
        (lambda: CTC(4).decode(np.zeros((3, 5))), r"expected numbers \(frames, 4\)"),
        (lambda: CTC(4).decode(np.zeros(4)), "frames"),
        (lambda: CTC(4).decode(0.0), "frames"),
        (lambda: CTC(4).decode(np.zeros((2, 3, 4)), [1]), "lengths: expected 2"),
        (lambda: CTC(4).decode(np.zeros((2, 3, 4)), [1, 4]), "lengths: expected 2"),
        (lambda: CTC(4).stream().step(np.zeros(3)), "frames"),
        (lambda: CTC(4).stream().step(["a"] * 4), "frames"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("state", [{}, {"last": 4}, {"last": -1}, {"last": 1.0}, {"last": 1, "more": 2}])
def test_a_state_that_does_not_fit_is_refused(state):
    with pytest.raises(StateError, match="last"):
        CTC(LABELS).stream().state = state
