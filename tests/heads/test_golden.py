"""Models that others trained and that run on their own output: g2p-en's phonemes, textgenrnn's texts."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.heads.generate import generate
from edgelstm.heads.samplers import Beam
from tests.support import require_module

MODELS = Path(__file__).parent.parent / "models"
BEGIN, END, LONGEST = 2, 3, 20  # <s>, </s>
WINDOW = 40
LSTM_GATES = [0, 3, 1, 2]  # Keras' i f c o as ONNX' i o f c


def arrays(folder, name):
    return dict(np.load(MODELS / folder / name))


class G2p:
    """The encoder, the decoder, and what they are to give."""

    def __init__(self):
        weights = arrays("g2p_en", "weights.npz")
        self.golden = arrays("g2p_en", "golden.npz")
        self.encoder = edgelstm.from_arrays(*self._half(weights, "enc"))
        found, layers = self._half(weights, "dec")
        found |= {"fc.weight": weights["fc_w"], "fc.bias": weights["fc_b"]}
        self.decoder = edgelstm.from_arrays(found, [*layers, {"kind": "linear", "arrays": "fc"}])

    @staticmethod
    def _half(weights, name):
        roles = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
        found = {f"{name}.{role}": weights[f"{name}_{short}"] for role, short in roles.items()}
        found["emb.weight"] = weights[f"{name}_emb"]
        return found, [{"kind": "embedding", "arrays": "emb"}, {"kind": "gru_cell", "arrays": name}]

    def letters(self, index):
        return self.golden["token_ids"][index, : self.golden["lengths"][index]]

    def phonemes(self, index):
        return self.golden["pred_ids"][index, : self.golden["n_pred"][index]]

    def start(self, index):
        """The decoder's start state: the encoder's last."""
        stream = self.encoder.stream()
        stream.run(self.letters(index))
        return {"dec.h": stream.state["enc.h"]}

    def __len__(self):
        return len(self.golden["words"])


@pytest.fixture(scope="module")
def g2p():
    return G2p()


def test_g2p_encoder(g2p):
    for index in range(4):
        outputs = g2p.encoder.stream().run(g2p.letters(index))
        np.testing.assert_allclose(outputs, g2p.golden[f"enc_outputs_{index}"], rtol=0, atol=1e-5)
    last = [g2p.start(index)["dec.h"].reshape(-1) for index in range(len(g2p))]
    np.testing.assert_allclose(last, g2p.golden["enc_last_hidden"], rtol=0, atol=1e-5)


def test_g2p_phonemes_are_all_exact(g2p):
    for index in range(len(g2p)):
        found = generate(g2p.decoder, BEGIN, END, LONGEST, state=g2p.start(index), keep_outputs=True)
        assert g2p.phonemes(index).tolist() == found.ids.tolist(), g2p.golden["words"][index]
        assert found.stop == (END if len(found.ids) < LONGEST else None)
        # Logits are up to 31 in size. One accumulator from the first product to the last (decision 5) is up to 2.8e-5
        # away from float64 over the 60 words, the sums in blocks of NumPy in float32, which are expected here, 1.1e-5.
        expected = g2p.golden["decoder_logits"][index, : len(found.outputs)]
        scale = np.abs(expected).max(axis=1, keepdims=True)
        assert (np.abs(found.outputs - expected) / scale).max() <= 1e-5


def test_g2p_goes_on_from_the_state_of_a_stream(g2p):
    stream = g2p.decoder.stream(state=g2p.start(0))
    before = stream.snapshot()
    found = generate(stream, BEGIN, END, LONGEST)
    assert g2p.phonemes(0).tolist() == found.ids.tolist()
    assert before == stream.snapshot()


def test_g2p_beams_find_nothing_worse_than_greedy(g2p):
    for index in range(8):
        state = g2p.start(index)
        greedy = generate(g2p.decoder, BEGIN, END, LONGEST, state=state)
        beam = generate(g2p.decoder, BEGIN, END, LONGEST, Beam(4), state=state)
        assert beam.total >= greedy.total - 1e-9


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The model as an exporter would write it, read by the converter."""
    onnx = require_module("onnx")
    path = tmp_path_factory.mktemp("textgenrnn") / "model.onnx"
    onnx.save(text_model(onnx, arrays("textgenrnn", "weights.npz")), path)
    return edgelstm.load(path)


def text_model(onnx, weights):
    """Embedding → LSTM → LSTM → all three side by side → attention → Dense."""
    node, constants = onnx.helper.make_node, {"embedding": weights["embedding"]}
    nodes = [
        node("Gather", ["embedding", "ids"], ["embedded"]),
        node("Transpose", ["embedded"], ["x"], perm=[1, 0, 2]),
    ]
    for cell, source in (("rnn_1", "x"), ("rnn_2", "rnn_1/rows")):
        constants |= lstm_weights(cell, weights)
        nodes += [
            node("LSTM", [source, *(f"{cell}/{role}" for role in "WRB")], [f"{cell}/y"], hidden_size=128, name=cell),
            node("Squeeze", [f"{cell}/y", "axis_1"], [f"{cell}/rows"]),
            node("Transpose", [f"{cell}/rows"], [cell], perm=[1, 0, 2]),
        ]
    nodes += [
        node("Concat", ["embedded", "rnn_1", "rnn_2"], ["seen"], axis=2),
        node("MatMul", ["seen", "attention_W"], ["heed"]),
        node("Softmax", ["heed"], ["weights"], axis=1),
        node("Mul", ["seen", "weights"], ["weighted"]),
        node("ReduceSum", ["weighted", "axis_1"], ["mean"], keepdims=0),
        node("Gemm", ["mean", "output_kernel", "output_bias"], ["logits"]),
        node("Squeeze", ["weights", "axis_2"], ["attention"]),
    ]
    constants |= {name: weights[name] for name in ("attention_W", "output_kernel", "output_bias")}
    constants |= {"axis_1": np.array([1]), "axis_2": np.array([2])}
    kinds = {"rnn_1": 3, "rnn_2": 3, "attention": 2, "logits": 2}
    info, types = onnx.helper.make_tensor_value_info, onnx.TensorProto
    graph = onnx.helper.make_graph(
        nodes,
        "textgenrnn",
        [info("ids", types.INT64, ["batch", "time"])],
        [info(name, types.FLOAT, [None] * rank) for name, rank in kinds.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def lstm_weights(cell, weights):
    """W, R and B of one cell, from Keras' layout."""

    def gates(array):
        return np.stack(np.split(array, 4, axis=-1))[LSTM_GATES]

    w, r = (gates(weights[f"{cell}_{name}"]).transpose(0, 2, 1) for name in ("kernel", "recurrent_kernel"))
    bias = gates(weights[f"{cell}_bias"]).reshape(-1)
    flat = {"W": w.reshape(512, -1), "R": r.reshape(512, -1), "B": np.concatenate([bias, np.zeros_like(bias)])}
    return {f"{cell}/{role}": np.ascontiguousarray(array[None], np.float32) for role, array in flat.items()}


def test_textgenrnn_layers(texts):
    golden = arrays("textgenrnn", "golden.npz")
    found = texts.run({"ids": golden["token_ids"]})
    for layer in (1, 2):
        np.testing.assert_allclose(found[f"rnn_{layer}"][:2], golden[f"rnn{layer}_seq"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[f"rnn_{layer}"][:, -1], golden[f"rnn{layer}_last"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["attention"], golden["attention"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["logits"], golden["logits"], rtol=0, atol=1e-4)


def test_textgenrnn_goes_on_with_each_text(texts):
    golden = arrays("textgenrnn", "golden.npz")
    characters = {
        int(item): letter
        for ids, text in zip(golden["token_ids"], golden["texts"], strict=True)
        for item, letter in zip(ids, text, strict=True)
    }
    stream = texts.stream(window=WINDOW)
    for ids, expected in zip(golden["token_ids"], golden["greedy_24"], strict=True):
        found = generate(stream, ids, stop=None, max_steps=24, output="logits")
        assert str(expected) == "".join(characters[item] for item in found.ids.tolist())


def test_the_reduced_textgenrnn_keeps_its_commonest_characters():
    spec = importlib.util.spec_from_file_location("reduce", MODELS / "textgenrnn" / "reduce.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table, ids = np.arange(465.0)[:, None], np.array([[1, 63]])
    weights = {"embedding": table, "output_kernel": table.T, "output_bias": table[:, 0], "other": 1}
    golden = {**dict.fromkeys(module.KEPT, 2), "token_ids": ids, "logits": table.T, "probs": table.T}
    small, kept = module.reduce(weights, golden)
    assert (small["embedding"].shape, small["output_kernel"].shape, small["other"]) == ((64, 1), (1, 64), 1)
    assert np.array_equal(np.arange(64.0), small["output_bias"])
    assert (kept["logits"].shape, "probs" in kept) == ((1, 64), False)
    with pytest.raises(ValueError, match="beyond the first 64"):
        module.reduce(weights, {**golden, "token_ids": np.array([[64]])})
