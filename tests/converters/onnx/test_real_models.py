"""Models that other people trained and exported, call by call with the state fed back, against their own runtimes."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import edgelstm
from edgelstm.errors import InputError, UnsupportedError

MODELS = Path(__file__).parents[2] / "models"
RATES = {16000: (512, 64, "16k"), 8000: (256, 32, "8k")}


def golden(name):
    return np.load(MODELS / name / "golden.npz")


def chunks(rate):
    """Each chunk behind the end of the one before."""
    size, before, label = RATES[rate]
    samples = np.concatenate([np.zeros(before), golden("silero_vad")[f"pcm{label}"] / 32768]).astype(np.float32)
    return [samples[start : start + before + size] for start in range(0, len(samples) - before, size)]


@pytest.mark.parametrize("rate", RATES)
def test_silero_vad_at_either_rate(rate):
    expected, label = golden("silero_vad"), RATES[rate][2]
    model = edgelstm.load(MODELS / "silero_vad" / "silero_vad.onnx", constants={"sr": rate})
    assert list(model.inputs) == ["input", "state"]
    assert [(pair.name, pair.output, pair.how) for pair in model.states] == [("state", "stateN", "data flow")]
    state, found = np.zeros((2, 1, 128), np.float32), []
    for number, chunk in enumerate(chunks(rate), start=1):
        outputs = model.run({"input": chunk[None], "state": state})
        state = outputs["stateN"]
        found.append(outputs["output"].item())
        if number % 20 == 0:
            want = expected[f"main_{label}_state_every20"][number // 20 - 1]
            np.testing.assert_allclose(state[:, 0], want.reshape(2, 128), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found, expected[f"main_{label}_prob"], atol=1e-5)


def test_silero_vad_over_a_whole_sequence():
    expected = golden("silero_vad")
    model = edgelstm.load(MODELS / "silero_vad" / "silero_vad_16k_sequence.onnx")
    zeros = np.zeros((1, 1, 128), np.float32)
    outputs = model.run({"input": np.stack(chunks(16000)), "h": zeros, "c": zeros})
    np.testing.assert_allclose(outputs["speech_probs"], expected["sequence_16k_prob"], atol=1e-5)
    for name in ("hn", "cn"):
        np.testing.assert_allclose(outputs[name], expected[f"sequence_16k_{name}"], rtol=1e-4, atol=1e-4)


def test_silero_vad_at_sizes_that_the_taken_branch_is_wrong_for():
    model = edgelstm.load(MODELS / "silero_vad" / "silero_vad.onnx", constants={"sr": 16000})
    state = np.zeros((2, 1, 128), np.float32)
    with pytest.raises(InputError, match="takes a size of 1 only, got 2"):
        model.run({"input": np.zeros((1, 1024), np.float32), "state": state})


def test_silero_vad_without_its_rate():
    with pytest.raises(UnsupportedError, match=r"If_0.*condition is computed from data"):
        edgelstm.load(MODELS / "silero_vad" / "silero_vad.onnx")


def test_dtln_from_samples_to_samples():
    expected = golden("dtln")
    first = edgelstm.load(MODELS / "dtln" / "model_1.onnx")
    second = edgelstm.load(MODELS / "dtln" / "model_2.onnx")
    samples = expected["pcm"].astype(np.float32) / 32768
    window, overlap = np.zeros(512, np.float32), np.zeros(512, np.float32)
    states = [np.zeros((1, 2, 128, 2), np.float32)] * 2
    audio = []
    for number in range(200):
        window = np.concatenate([window[128:], samples[128 * number : 128 * (number + 1)]])
        spectrum = np.fft.rfft(window)
        outputs = first.run({"input_2": np.abs(spectrum).astype(np.float32)[None, None], "input_3": states[0]})
        mask, states[0] = outputs["activation_2"][0, 0], outputs["tf_op_layer_stack_2"]
        np.testing.assert_allclose(mask, expected["masks"][number], atol=1e-5)
        masked = np.fft.irfft(spectrum * mask).astype(np.float32)
        outputs = second.run({"input_4": masked[None, None], "input_5": states[1]})
        block, states[1] = outputs["conv1d_3"][0, 0], outputs["tf_op_layer_stack_5"]
        overlap = np.concatenate([overlap[128:], np.zeros(128, np.float32)]) + block
        audio.append(overlap[:128])
        if number % 20 == 19:
            place = number // 20
            np.testing.assert_allclose(masked, expected["model2_in_every20"][place], atol=1e-5)
            np.testing.assert_allclose(block, expected["model2_out_every20"][place], atol=1e-5)
            for state, name in zip(states, ("state1_every20", "state2_every20"), strict=True):
                np.testing.assert_allclose(state[0], expected[name][place], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(audio), expected["audio"], atol=1e-5)


def test_rnnoise():
    expected = golden("rnnoise")
    model = edgelstm.load(MODELS / "rnnoise" / "rnnoise.onnx")
    assert [pair.how for pair in model.states] == ["data flow"] * 3
    starts = {pair.name: np.zeros((1, 1, pair.type.shape[2]), np.float32) for pair in model.states}
    outputs = model.run({"features": expected["features"], **starts})
    np.testing.assert_allclose(outputs["gains"], expected["orig_gains"], atol=5e-6)
    np.testing.assert_allclose(outputs["vad"][:, 0], expected["orig_vad"], atol=5e-6)
