"""Generation against sequences written out one by one, and what it refuses."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgelstm
from edgelstm.errors import InputError, StateError, StreamError
from edgelstm.graph.dims import BATCH, TIME, symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.heads.generate import generate
from edgelstm.heads.samplers import Beam, Greedy, Temperature, TopK
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.runtime import executors
from edgelstm.runtime.model import Model

WORDS = 4
STOP = 3
STEPS = 4


def decoder(seed=0, words=WORDS, units=5, activation=None, embed=True):
    """Embedding (or one-hot vectors), GRU, Linear."""
    rng = np.random.default_rng(seed)
    arrays = {
        "cell.weight_ih": rng.normal(size=(3 * units, units if embed else words)),
        "cell.weight_hh": rng.normal(size=(3 * units, units)),
        "head.weight": rng.normal(size=(words, units)),
        "head.bias": rng.normal(size=words),
    }
    layers = [{"kind": "gru_cell", "arrays": "cell"}, {"kind": "linear", "arrays": "head", "activation": activation}]
    if embed:
        arrays["emb.weight"] = rng.normal(size=(words, units))
        layers.insert(0, {"kind": "embedding", "arrays": "emb"})
    return edgelstm.from_arrays(arrays, layers)


def by_hand(model, start, choose, stops, steps, state=None):
    """The loop as anyone would write it; `choose` takes logits."""
    stream = model.stream(state=state)
    for item in start:
        row = stream.step(item)
    found = []
    for _ in range(steps):
        item = choose(row)
        if item in stops:
            break
        found.append(item)
        row = stream.step(item)
    return found


def outcomes(model, start, stops, steps):
    """Every sequence that can come out, (ids, stop or None) → logarithm of its probability."""
    found = {}

    def visit(ids, total, row):
        row = np.asarray(row, np.float64)
        logs = row - row.max() - np.log(np.exp(row - row.max()).sum())
        for item in range(len(row)):
            if item in stops or len(ids) + 1 == steps:
                found[(*ids, item)] = total + logs[item]
            else:
                stream = model.stream()
                for before in (*start, *ids, item):
                    after = stream.step(before)
                visit((*ids, item), total + logs[item], after)

    stream = model.stream()
    for item in start:
        row = stream.step(item)
    visit((), 0.0, row)
    return found


def choices(generated):
    return (*generated.ids.tolist(), *([] if generated.stop is None else [generated.stop]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("stop", [None, STOP, [0, STOP]])
def test_greedy_is_the_loop_by_hand(seed, stop):
    model = decoder(seed)
    stops = set() if stop is None else {stop} if isinstance(stop, int) else set(stop)
    found = generate(model, [1, 2], stop, 12)
    assert by_hand(model, [1, 2], np.argmax, stops, 12) == found.ids.tolist()
    assert found.ids.dtype == np.int64
    assert (found.stop is None) == (len(found.ids) == 12)
    assert generate(model, (1, 2), stop, 12, Greedy(), seed=9).ids.tolist() == found.ids.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_the_models_log_probabilities(seed):
    model = decoder(seed)
    logs = outcomes(model, [1], {STOP}, STEPS)
    assert sum(np.exp(list(logs.values()))) == pytest.approx(1, abs=1e-6)
    for sampler in (Greedy(), Temperature(2.0), TopK(3), Beam(2)):
        found = generate(model, 1, STOP, STEPS, sampler, seed=seed)
        assert found.total == pytest.approx(logs[choices(found)], abs=1e-6)
        rest = found.total - found.scores.sum()
        assert (rest < 0) if found.stop is not None else rest == pytest.approx(0, abs=1e-12)


@given(
    st.integers(0, 1000), st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([(), (STOP,), (0, 2)])
)
@settings(max_examples=25, deadline=None)
def test_a_beam_that_holds_everything_finds_the_best_of_all(seed, steps, penalty, stops):
    model = decoder(seed)
    logs = outcomes(model, [1], set(stops), steps)
    ranked = sorted(logs, key=lambda ids: logs[ids] / len(ids) ** penalty, reverse=True)
    found = generate(model, 1, stops or None, steps, Beam(WORDS**steps, penalty))
    assert ranked == [choices(path) for path in (found, *found.others)]
    assert [path.total for path in (found, *found.others)] == pytest.approx([logs[ids] for ids in ranked], abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_beam_is_a_beam_search(seed):
    """Against beginnings kept in a list, every one run from its start."""
    model, width, steps = decoder(seed, words=6), 3, 5

    def logs(ids):
        stream = model.stream()
        for item in (1, *ids):
            row = stream.step(item)
        row = row.astype(np.float64)
        return row - row.max() - np.log(np.exp(row - row.max()).sum())

    live, ended = [((), 0.0)], []
    for _ in range(steps):
        longer = [((*ids, k), total + score) for ids, total in live for k, score in enumerate(logs(ids))]
        ended += [path for path in longer if path[0][-1] == STOP]
        live = sorted((path for path in longer if path[0][-1] != STOP), key=lambda path: -path[1])[:width]
    best = sorted(ended + live, key=lambda path: -path[1])[:width]
    found = generate(model, 1, STOP, steps, Beam(width))
    assert [ids for ids, _ in best] == [choices(path) for path in (found, *found.others)]


def test_the_same_seed_draws_the_same_ids():
    model = decoder()
    for sampler in (Temperature(1.5), TopK(3, 2.0)):
        drawn = [generate(model, 1, None, 30, sampler, seed=seed).ids.tolist() for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("sampler", "scaled"),
    [(Temperature(), lambda x: x), (Temperature(0.5), lambda x: x / 0.5), (TopK(2, 2.0), lambda x: x / 2.0)],
)
def test_ids_are_drawn_as_often_as_their_probability(sampler, scaled):
    scores = np.array([0.3, 1.7, -0.4, 1.2])
    chances = np.exp(scaled(scores))
    if isinstance(sampler, TopK):
        chances[[0, 2]] = 0
    rng, count = np.random.default_rng(0), 20_000
    drawn = np.bincount([sampler.choose(scores, rng) for _ in range(count)], minlength=4)
    expected = chances / chances.sum()
    spread = np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(drawn / count - expected) <= 5 * spread).all()


def test_barred_ids_are_never_drawn():
    scores, rng = np.array([-np.inf, 0.0, -np.inf]), np.random.default_rng(0)
    for sampler in (Greedy(), Temperature(5.0), TopK(3)):
        assert {1} == {sampler.choose(scores, rng) for _ in range(50)}


def test_top_k_of_one_is_greedy():
    model = decoder(3)
    greedy = generate(model, 1, STOP, 20)
    for sampler in (TopK(1), TopK(1, 9.0)):
        assert choices(greedy) == choices(generate(model, 1, STOP, 20, sampler))


def test_of_equal_scores_the_lower_id_is_chosen():
    rng, scores = np.random.default_rng(0), np.array([0.0, 2.0, 2.0, 2.0])
    assert Greedy().choose(scores, rng) == TopK(1).choose(scores, rng) == 1
    assert {1, 2} == {TopK(2).choose(scores, rng) for _ in range(50)}


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(), Beam(3)])
def test_a_given_stream_is_left_alone_to_the_bit(sampler):
    stream = decoder().stream()
    stream.step(2)
    before = stream.snapshot()
    first = generate(stream, 1, STOP, 6, sampler)
    assert before == stream.snapshot()
    assert stream.last is not None
    assert choices(first) == choices(generate(stream, 1, STOP, 6, sampler))
    fresh = generate(decoder(), [2, 1], STOP, 6, sampler)
    assert choices(fresh) == choices(first)
    with pytest.raises(InputError):
        generate(stream, 99, STOP, 6, sampler)
    assert before == stream.snapshot()


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(), Beam(3)])
@pytest.mark.parametrize("seed", range(4))
def test_a_stream_is_advanced_where_asked(sampler, seed):
    model = decoder(seed)
    stream, twin = model.stream(), model.stream()
    found = generate(stream, [1, 0], STOP, 5, sampler, advance=True)
    for item in (1, 0, *choices(found)[:-1]):
        twin.step(item)
    assert twin.snapshot() == stream.snapshot()
    before = stream.snapshot()
    with pytest.raises(InputError):
        generate(stream, [1, 99], STOP, 5, sampler, advance=True)
    assert before == stream.snapshot()


def test_outputs_are_what_was_chosen_from():
    model = decoder(1)
    for sampler in (Greedy(), Beam(2)):
        found = generate(model, 1, STOP, 6, sampler, keep_outputs=True)
        stream = model.stream()
        rows = [stream.step(item) for item in (1, *choices(found)[:-1])]
        assert np.array_equal(rows, found.outputs)
    assert generate(model, 1, STOP, 6).outputs is None


def test_start_state_comes_by_name():
    model, state = decoder(), {"cell.h": np.full((1, 1, 5), 0.5)}
    assert by_hand(model, [1], np.argmax, (), 9, state) == generate(model, 1, None, 9, state=state).ids.tolist()
    with pytest.raises(StateError, match=r"cell\.h"):
        generate(model, 1, None, 9, state={"h": state["cell.h"]})


def test_one_hot_vectors_are_encoded():
    model = decoder(embed=False)
    rows = np.eye(WORDS)
    stream, expected, item = model.stream(), [], 1
    for _ in range(6):
        item = int(np.argmax(stream.step(rows[item])))
        expected.append(item)
    assert expected == generate(model, 1, None, 6, encode=rows.__getitem__).ids.tolist()
    with pytest.raises(InputError, match="pass encode="):
        generate(model, 1, None, 6)


def test_probabilities_and_logits_are_told_apart():
    logits, chances, logs = (decoder(activation=name) for name in (None, "softmax", "log_softmax"))
    for sampler in (Greedy(), Temperature(0.7), TopK(2), Beam(3)):
        expected = generate(logits, 1, STOP, 6, sampler, seed=5)
        for model, kind in ((chances, "probabilities"), (logs, "logits")):
            found = generate(model, 1, STOP, 6, sampler, scores=kind, seed=5)
            assert choices(expected) == choices(found)
            assert expected.total == pytest.approx(found.total, abs=1e-5)
    with pytest.raises(InputError, match="looks like probabilities"):
        generate(chances, 1, STOP, 6)
    with pytest.raises(InputError, match="does not hold probabilities"):
        generate(logits, 1, STOP, 6, scores="probabilities")


def attending():
    """Scores of words from an id and an encoder's outputs (S, 3) of any length: softmax(memory @ query) @ memory."""
    batch, time, length = symbol(BATCH), symbol(TIME), symbol("S")
    constants = {
        "table": np.random.default_rng(0).normal(size=(WORDS, 3)).astype(np.float32),
        "w": np.random.default_rng(1).normal(size=(WORDS, 3)).astype(np.float32),
    }
    nodes = (
        make_node("gather", ["table", "id"], ["query"]),  # (B, T, 3)
        make_node("transpose", ["memory"], ["keys"], perm=(0, 2, 1)),
        make_node("matmul", ["query", "keys"], ["heed"]),
        make_node("softmax", ["heed"], ["weights"]),
        make_node("matmul", ["weights", "memory"], ["seen"]),
        make_node("linear", ["seen", "w"], ["scores"]),
    )
    kinds = {"id": TensorType("int64", (batch, time)), "memory": TensorType("float32", (batch, length, 3))}
    return Model(Graph(kinds, {"scores": "scores", "weights": "weights"}, nodes, constants))


def test_context_stays_the_same_at_every_step():
    model = attending()
    for length in (2, 5):
        memory = np.random.default_rng(length).normal(size=(length, 3)).astype(np.float32) * 3
        item, expected = 1, []
        for _ in range(6):
            row = model.run({"id": [[item]], "memory": memory[None]})["scores"][0, 0]
            item = int(row.argmax())
            expected.append(item)
        found = generate(model, 1, None, 6, context={"memory": memory}, output="scores")
        assert expected == found.ids.tolist()
    with pytest.raises(InputError, match=r"output: expected one of the outputs \(scores, weights\)"):
        generate(model, 1, None, 6, context={"memory": memory})
    with pytest.raises(InputError, match="context: no input is called 'memories'"):
        generate(model.stream(sizes={"S": 5}), 1, None, 6, context={"memories": memory}, output="scores")
    with pytest.raises(InputError, match="token: expected one of the inputs besides the context"):
        generate(model.stream(sizes={"S": 5}), 1, None, 6, output="scores")
    with pytest.raises(InputError, match="values for the inputs memory are missing"):
        generate(model.stream(sizes={"S": 5}), 1, None, 6, output="scores", token="id")


def test_a_window_needs_enough_ids_to_begin_with():
    model = decoder()
    stream = model.stream(window=3)
    with pytest.raises(StreamError, match="no output yet"):
        generate(stream, [1, 2], None, 3)
    with pytest.raises(InputError, match="expected one row of scores"):
        generate(stream, [1, 2, 0], None, 3)  # this model gives a row for each step of its window


class Fixed:
    def __init__(self, item):
        self.item = item

    def choose(self, scores, rng, /):
        return self.item


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": []}, "start: expected an id or several"),
        ({"start": -1}, "start"),
        ({"start": 1.0}, "start"),
        ({"start": [True]}, "start"),
        ({"start": "a"}, "start"),
        ({"start": WORDS}, "out of range"),
        ({"stop": [1, -1]}, "stop: expected an id or several"),
        ({"stop": WORDS}, "stop: expected ids from 0 to 3, got 4"),
        ({"stop": WORDS, "sampler": Beam(2)}, "stop: expected ids from 0 to 3, got 4"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 1.5}, "max_steps"),
        ({"scores": "odds"}, "scores: expected logits or probabilities"),
        ({"token": "z"}, "token"),
        ({"output": "z"}, "output: expected one of the outputs"),
        ({"context": {"z": 1}}, "context: no input is called 'z'"),
        ({"sampler": Fixed(-1)}, "it chose -1"),
        ({"sampler": Fixed(WORDS)}, "it chose 4"),
        ({"advance": True}, "pass a stream"),
        ({"decoder": None}, "expected a Model or a Stream, got NoneType"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        generate(**{"decoder": decoder(), "start": 1, "stop": STOP, "max_steps": 5, **arguments})


def test_scores_that_are_not_finite_are_refused():
    model = decoder(activation={"function": "affine", "alpha": 3e38, "beta": 0.0})
    with pytest.raises(InputError, match=r"output 'y' holds NaN or \+Inf"):
        generate(model, 1, STOP, 5)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (Temperature, (0, -1.0, np.inf, np.nan, "1")),
        (TopK, (0, -1, 1.5, True)),
        (Beam, (0, -1, 1.5, True)),
        (lambda value: TopK(1, value), (0, np.nan)),
        (lambda value: Beam(1, value), (-1, np.nan, np.inf, "1")),
    ],
)
def test_samplers_refuse_what_they_cannot_do(make, values):
    for value in values:
        with pytest.raises(InputError, match="expected a"):
            make(value)


def test_without_the_compiled_machine(monkeypatch):
    expected = [choices(generate(decoder(4), 1, STOP, 8, sampler)) for sampler in (Greedy(), Beam(3))]
    monkeypatch.setattr(executors, "make_executor", ReferenceExecutor)
    assert expected == [choices(generate(decoder(4), 1, STOP, 8, sampler)) for sampler in (Greedy(), Beam(3))]


def test_every_stop_ends_a_sequence():
    model = decoder(2)
    for stops in itertools.combinations(range(WORDS), 2):
        found = generate(model, 1, stops, 50)
        assert found.stop is None or found.stop in stops
        assert not set(stops) & set(found.ids.tolist())
