"""The example of an encoder and a decoder with attention: exported, and stepped on its own output as PyTorch does."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from tests.support import require_module

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "seq2seq_attention" / "train.py"


@pytest.fixture(scope="module")
def example():
    for name in ("torch", "onnx"):
        require_module(name)
    spec = importlib.util.spec_from_file_location("seq2seq_attention", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(example, tmp_path_factory):
    """A little training, so that choices differ clearly."""
    folder = tmp_path_factory.mktemp("seq2seq")
    encoder, decoder = example.train(updates=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns that it is the old one, and of cells of any length
        example.export(encoder, decoder, folder)
    return encoder, decoder, example.Translator(folder)


def test_it_translates_as_pytorch_does(example, trained):
    encoder, decoder, translate = trained
    texts = [text for text, _ in example.sentences(np.random.default_rng(1), 20)]
    assert len({len(text) for text in texts}) > 3
    expected = [example.by_torch(encoder, decoder, text) for text in texts]
    assert len(set(expected)) > 1
    assert expected == [translate(text) for text in texts]


def test_a_beam_is_at_least_as_likely(example, trained):
    _, _, translate = trained
    seen = translate.encoder.run({"letters": [example.letter_ids("7 march 1998")]})
    given = {"state": {"state": seen["state"]}, "context": {"memory": seen["memory"][0]}}
    greedy = edgelstm.generate(translate.decoder, example.BEGIN, example.END, 12, **given)
    beam = edgelstm.generate(translate.decoder, example.BEGIN, example.END, 12, edgelstm.Beam(4), **given)
    assert beam.total >= greedy.total - 1e-9


def test_it_scores_the_outputs_of_whole_sequences_as_of_steps(example, trained):
    _, _, translate = trained
    seen = translate.encoder.run({"letters": [example.letter_ids("may 2, 1961")]})
    given = {"state": {"state": seen["state"]}, "context": {"memory": seen["memory"][0]}, "keep_outputs": True}
    found = edgelstm.generate(translate.decoder, example.BEGIN, None, 6, **given)
    digits = [[example.BEGIN, *found.ids[:-1].tolist()]]
    whole = translate.decoder.run({"digits": digits, "state": seen["state"], "memory": seen["memory"]})
    np.testing.assert_allclose(found.outputs, whole["scores"][0], rtol=0, atol=1e-5)
