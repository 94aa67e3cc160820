"""Viterbi against all paths written out, in one go and as a stream."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.errors import InputError, StateError
from edgelstm.heads.crf import CRF


@st.composite
def cases(draw, forbid=False):
    """A CRF and emissions of a size whose paths can all be written out."""
    tags, steps = draw(st.sampled_from([(1, 4), (2, 7), (3, 5), (4, 4)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    transitions = rng.normal(size=(tags, tags))
    if forbid and tags > 1:
        barred = rng.random((tags, tags)) < 0.3
        np.fill_diagonal(barred, False)  # so that some path is left
        transitions[barred] = -np.inf
    crf = CRF(transitions, rng.normal(size=tags), rng.normal(size=tags))
    return crf, rng.normal(size=(draw(st.integers(0, steps)), tags))


def path_score(crf, emissions, path, *, ended=True):
    """The formula, one term after the other."""
    total = 0.0
    for t, tag in enumerate(path):
        total += emissions[t, tag] + (crf.start[tag] if t == 0 else crf.transitions[path[t - 1], tag])
    return total + (crf.end[path[-1]] if ended and len(path) else 0.0)


def best_path(crf, emissions, settled=(), *, ended=True):
    """The best of all paths that begin with `settled`."""
    paths = itertools.product(range(crf.tags), repeat=len(emissions))
    allowed = [path for path in paths if path[: len(settled)] == tuple(settled)]
    return max(allowed, key=lambda path: path_score(crf, emissions, path, ended=ended))


@given(cases(forbid=True))
@settings(max_examples=150, deadline=None)
def test_decode_finds_the_best_of_all_paths(case):
    crf, emissions = case
    path = crf.decode(emissions)
    assert path.dtype == np.int64
    assert list(best_path(crf, emissions)) == path.tolist()
    assert crf.score(emissions, path) == pytest.approx(path_score(crf, emissions, path.tolist()), rel=1e-12, abs=1e-12)


@given(cases(), st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_stream_gives_the_best_path_that_agrees_with_the_tags_already_given(case, lag):
    crf, emissions = case
    stream, given_tags = crf.stream(lag), []
    for t, emission in enumerate(emissions):
        tag = stream.step(emission)
        assert (tag is None) == (t < lag)
        if tag is not None:
            given_tags.append(best_path(crf, emissions[: t + 1], given_tags, ended=False)[t - lag])
            assert given_tags[-1] == tag
    expected = best_path(crf, emissions, given_tags)[len(given_tags) :] if len(emissions) else ()
    assert list(expected) == stream.flush().tolist()
    assert stream.flush().tolist() == []


@given(cases())
@settings(max_examples=50, deadline=None)
def test_a_lag_of_the_whole_length_is_decode(case):
    crf, emissions = case
    stream = crf.stream(len(emissions))
    assert [None] * len(emissions) == [stream.step(emission) for emission in emissions]
    assert crf.decode(emissions).tolist() == stream.flush().tolist()


@pytest.mark.parametrize("lag", [0, 1, 5])
def test_state_carries_a_stream_over(lag):
    rng = np.random.default_rng(3)
    crf, emissions = CRF(rng.normal(size=(3, 3)), rng.normal(size=3)), rng.normal(size=(20, 3))
    for cut in range(12):
        whole, first, second = crf.stream(lag), crf.stream(lag), crf.stream(lag)
        expected = [whole.step(row) for row in emissions]
        found = [first.step(row) for row in emissions[:cut]]
        second.state = first.state
        found += [second.step(row) for row in emissions[cut:]]
        assert expected == found
        assert whole.flush().tolist() == second.flush().tolist()


def test_a_long_stream_keeps_its_digits():
    crf = CRF(np.zeros((2, 2)))
    stream = crf.stream(1)
    for _ in range(2000):
        stream.step([1e6, 1e6])
    assert [stream.step([0.0, 1e-9]), stream.step([1.0, 0.0])] == [0, 1]


def test_start_and_end_scores_count():
    crf = CRF(np.zeros((2, 2)), start=[0, 3], end=[2, 0])
    assert crf.decode([[0, 0], [0, 0]]).tolist() == [1, 0]
    assert crf.decode([[0, 0]]).tolist() == [1]


def test_transitions_go_from_row_to_column():
    crf = CRF([[0, 5], [-5, 0]])
    assert crf.decode([[0.1, 0], [0, 0]]).tolist() == [0, 1]


def test_of_equal_paths_the_lower_last_tag_wins():
    assert CRF(np.zeros((3, 3))).decode(np.zeros((4, 3))).tolist() == [0, 0, 0, 0]


def test_batches_are_cut_at_their_lengths():
    rng = np.random.default_rng(1)
    crf, batch, lengths = CRF(rng.normal(size=(4, 4))), rng.normal(size=(3, 6, 4)), [6, 0, 2]
    expected = [crf.decode(row[:n]).tolist() for row, n in zip(batch, lengths, strict=True)]
    batch[1, :], batch[2, 2:] = np.nan, np.nan
    assert expected == [path.tolist() for path in crf.decode(batch, lengths=lengths)]
    mask = np.arange(6) < np.array(lengths)[:, None]
    assert expected == [path.tolist() for path in crf.decode(batch, mask=mask)]
    assert expected[2] == crf.decode(batch[2], lengths=[2]).tolist() == crf.decode(batch[2], mask=mask[2]).tolist()


def test_state_dict_in_the_names_of_pytorch_crf():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    arrays = {
        "crf.start_transitions": torch.tensor(rng.normal(size=3)),
        "crf.end_transitions": torch.tensor(rng.normal(size=3)),
        "crf.transitions": torch.tensor(rng.normal(size=(3, 3))),
        "lstm.weight_ih_l0": torch.zeros(4),
    }
    emissions = rng.normal(size=(5, 3))
    for prefix in ("crf", "crf."):
        crf = CRF.from_state_dict(arrays, prefix)
        assert list(best_path(crf, emissions)) == crf.decode(emissions).tolist()
        assert np.array_equal(arrays["crf.transitions"].numpy(), crf.transitions)
        assert np.array_equal(arrays["crf.start_transitions"].numpy(), crf.start)
        assert np.array_equal(arrays["crf.end_transitions"].numpy(), crf.end)
    with pytest.raises(InputError, match="start_transitions, end_transitions, transitions missing"):
        CRF.from_state_dict(arrays)
    parameter = torch.nn.Parameter(arrays["crf.transitions"])
    with pytest.raises(InputError, match="transitions"):
        CRF.from_state_dict({**arrays, "crf.transitions": parameter}, "crf")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CRF(np.zeros((2, 3))), r"transitions: expected \(tags, tags\), got \(2, 3\)"),
        (lambda: CRF(np.zeros((0, 0))), "transitions"),
        (lambda: CRF(np.zeros((2, 2)), start=[0, 0, 0]), r"start: expected \(2,\)"),
        (lambda: CRF(np.zeros((2, 2)), end=[0, np.nan]), "end: holds NaN"),
        (lambda: CRF([[np.inf]]), r"\+inf"),
        (lambda: CRF([["a"]]), "real numbers"),
        (lambda: CRF(np.zeros((2, 2))).decode(np.zeros((3, 4))), r"emissions: expected \(steps, 2\)"),
        (lambda: CRF(np.zeros((2, 2))).decode([[0, np.nan]]), "emissions: holds NaN"),
        (lambda: CRF(np.full((2, 2), -np.inf)).decode(np.zeros((2, 2))), "no path is allowed"),
        (lambda: CRF(np.zeros((2, 2))).decode(np.zeros((3, 2)), lengths=[4]), "lengths: expected 1 integers"),
        (lambda: CRF(np.zeros((2, 2))).decode(np.zeros((3, 2)), lengths=[1.5]), "lengths"),
        (lambda: CRF(np.zeros((2, 2))).decode(np.zeros((3, 2)), mask=[1, 0, 1]), "mask"),
        (lambda: CRF(np.zeros((2, 2))).decode(np.zeros((3, 2)), [1], [1, 0, 0]), "not both"),
        (lambda: CRF(np.zeros((2, 2))).score(np.zeros((3, 2)), [0, 1, 2]), "tags: expected integers from 0 to 1"),
        (lambda: CRF(np.zeros((2, 2))).score(np.zeros((3, 2)), [0]), "as many tags"),
        (lambda: CRF(np.zeros((2, 2))).stream(-1), "lag: expected a whole number"),
        (lambda: CRF(np.zeros((2, 2))).stream(1.0), "lag: expected a whole number"),
        (lambda: CRF(np.zeros((2, 2))).stream(1).step([0, 0, 0]), r"emission: expected \(2,\)"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_refused_emission_changes_nothing():
    crf = CRF([[0, -np.inf], [0, 0]])
    stream = crf.stream(2)
    stream.step([0, -np.inf])
    before = stream.state
    for bad in ([np.nan, 0], [-np.inf, 0.0], [1.0]):
        with pytest.raises(InputError):
            stream.step(bad)
        assert all(np.array_equal(before[name], stream.state[name]) for name in before)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": -1},
        {"steps": 3},
        {"steps": 1.0},
        {"best": [0.0, np.nan]},
        {"best": [-np.inf, -np.inf]},
        {"best": ["a", "b"]},
        {"pointers": np.full((1, 2), 2)},
        {"pointers": np.zeros((1, 2))},
        {"emissions": np.full((1, 2), np.nan)},
        {"emissions": np.zeros((2, 2))},
        {"more": 1},
    ],
)
def test_a_state_that_does_not_fit_is_refused(change):
    stream = CRF(np.zeros((2, 2))).stream(2)
    stream.step([0, 1])
    before = stream.state
    with pytest.raises(StateError, match="state"):
        stream.state = {**before, **change}
    assert all(np.array_equal(before[name], stream.state[name]) for name in before)
