"""The same models as streams: chunk by chunk with the state that the stream carries, in steps, runs, from snapshots."""

import numpy as np
import pytest

pytest.importorskip("onnx")

import edgelstm
from tests.converters.onnx.test_real_models import MODELS, RATES, chunks, golden


def halves(model, readings, **options):
    """What a stream gives for the first half in one run, and another one, from its snapshot, for the rest in steps."""
    stream, other = model.stream(**options), model.stream(**options)
    middle = len(readings) // 2
    first = stream.run(readings[:middle])
    other.restore(stream.snapshot())
    return np.concatenate([first, [other.step(reading) for reading in readings[middle:]]]), other


@pytest.mark.parametrize("rate", RATES)
def test_silero_vad_at_either_rate(rate):
    expected, label = golden("silero_vad"), RATES[rate][2]
    model = edgelstm.load(MODELS / "silero_vad" / "silero_vad.onnx", constants={"sr": rate})
    sizes = {"input_1": sum(RATES[rate][:2])}  # the file leaves the chunk's size free
    stream, found = model.stream(sizes=sizes), []
    for number, chunk in enumerate(chunks(rate), start=1):
        found.append(stream.step(chunk).item())
        if number % 20 == 0:
            want = expected[f"main_{label}_state_every20"][number // 20 - 1]
            np.testing.assert_allclose(
                stream.state["state"].reshape(2, 128), want.reshape(2, 128), rtol=1e-4, atol=1e-4
            )
    np.testing.assert_allclose(found, expected[f"main_{label}_prob"], rtol=0, atol=1e-5)
    again, _ = halves(model, np.stack(chunks(rate)), sizes=sizes)
    np.testing.assert_array_equal(again.reshape(-1), np.float32(found))


def test_silero_vad_of_a_sequence():
    expected = golden("silero_vad")
    model = edgelstm.load(MODELS / "silero_vad" / "silero_vad_16k_sequence.onnx")
    found, stream = halves(model, np.stack(chunks(16000)))
    np.testing.assert_allclose(found.reshape(-1), expected["sequence_16k_prob"].reshape(-1), rtol=0, atol=1e-5)
    for name, last in (("h", "hn"), ("c", "cn")):
        want = expected[f"sequence_16k_{last}"]
        np.testing.assert_allclose(stream.state[name].reshape(want.shape), want, rtol=1e-4, atol=1e-4)


def test_dtln_from_samples_to_samples():
    expected = golden("dtln")
    first, second = (edgelstm.load(MODELS / "dtln" / f"model_{k}.onnx").stream() for k in (1, 2))
    samples = expected["pcm"].astype(np.float32) / 32768
    window, overlap, audio = np.zeros(512, np.float32), np.zeros(512, np.float32), []
    for number in range(200):
        window = np.concatenate([window[128:], samples[128 * number : 128 * (number + 1)]])
        spectrum = np.fft.rfft(window)
        mask = first.step(np.abs(spectrum).astype(np.float32)).reshape(-1)
        np.testing.assert_allclose(mask, expected["masks"][number], rtol=0, atol=1e-5)
        block = second.step(np.fft.irfft(spectrum * mask).astype(np.float32)).reshape(-1)
        overlap = np.concatenate([overlap[128:], np.zeros(128, np.float32)]) + block
        audio.append(overlap[:128])
        if number % 20 == 19:
            place = number // 20
            np.testing.assert_allclose(block, expected["model2_out_every20"][place], rtol=0, atol=1e-5)
            for stream, name in ((first, "state1_every20"), (second, "state2_every20")):
                (state,) = stream.state.values()
                want = expected[name][place]
                np.testing.assert_allclose(state.reshape(want.shape), want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(audio), expected["audio"], rtol=0, atol=1e-5)


def test_rnnoise():
    expected = golden("rnnoise")
    stream = edgelstm.load(MODELS / "rnnoise" / "rnnoise.onnx").stream()
    features = expected["features"].reshape(len(expected["orig_gains"]), -1)
    rows = [stream.step(row) for row in features[:100]]
    rest = stream.run(features[100:])
    for name, want in (("gains", "orig_gains"), ("vad", "orig_vad")):
        found = np.concatenate([[row[name].reshape(-1) for row in rows], rest[name].reshape(len(rest[name]), -1)])
        np.testing.assert_allclose(found.reshape(expected[want].shape), expected[want], rtol=0, atol=5e-6)
