"""What goes to int8 and why, calibration data that does not fit, files, real models beside ONNX Runtime's figures."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import FormatError, InputError
from edgelstm.graph.stored import value
from edgelstm.program.lowering import lower
from edgelstm.quantization.calibrate import input_scale
from edgelstm.quantization.cost import costs_of, table
from edgelstm.quantization.limits import allowances, difference, differences, excess
from edgelstm.quantization.scheme import apply, matrices, quantize_weights, store_exact
from edgelstm.runtime.model import Model

MODELS = Path(__file__).parents[1] / "models"


def lstm(inputs, hidden, seed=0, outputs=3):
    rng = np.random.default_rng(seed)

    def random(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(hidden))

    return edgelstm.from_arrays(
        {
            "rnn.weight_ih_l0": random(4 * hidden, inputs),
            "rnn.weight_hh_l0": random(4 * hidden, hidden),
            "rnn.bias_ih_l0": random(4 * hidden),
            "rnn.bias_hh_l0": random(4 * hidden),
            "head.weight": random(outputs, hidden),
            "head.bias": random(outputs),
        }
    )


def readings(count, features, seed=1):
    return np.random.default_rng(seed).standard_normal((count, features)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return lstm(6, 20)


def test_weights_are_within_half_a_step():
    w = readings(40, 30)
    w[3] = 0
    w[5] *= 1000
    q, scale = quantize_weights(w, 1)
    assert np.all(np.abs(w - q * scale) <= scale / 2 * (1 + 1e-6))
    assert np.abs(q).max(axis=1).tolist() == [0 if row == 3 else 127 for row in range(40)]


def test_one_outlier_channel_costs_the_others_nothing():
    small, large = lstm(6, 20), lstm(6, 20)
    w = matrices(large.graph)[0]
    array = large.graph.constants[w.constant].copy()
    array[0, 0] *= 1000
    changed = replace(large.graph, constants={**large.graph.constants, w.constant: array})
    plain, outlier = (apply(graph, [w]) for graph in (small.graph, changed))
    np.testing.assert_array_equal(plain.constants[w.constant][:, 1:], outlier.constants[w.constant][:, 1:])


def test_size_takes_everything_and_stays_within_the_tolerance(model):
    xs = readings(300, 6)
    quantized, report = edgelstm.quantize_reported(model, xs, objective="size", tolerance=0.05)
    assert {entry.kept for entry in report.entries} == {"int8"}
    assert report.error.max <= 0.05
    error = difference({"y": model.stream().run(xs)}, {"y": quantized.stream().run(xs)})
    assert error == report.error
    assert error.max > 0


@pytest.mark.parametrize("tolerance", [0.0, 1e-4, 5e-4, 1e-3, 2e-3])
def test_never_past_the_tolerance(model, tolerance):
    _, report = edgelstm.quantize_reported(model, readings(300, 6), objective="size", tolerance=tolerance)
    assert report.error.max <= tolerance
    assert all(entry.why for entry in report.entries if entry.kept != "int8")


def test_without_data_only_recurrent_layers_are_taken(model):
    _, report = edgelstm.quantize_reported(model, objective="size")
    kept = {entry.name: (entry.kept, entry.why) for entry in report.entries}
    assert kept.pop("head.x") == ("float32", "its error is not known without calibration data")
    assert {kind for kind, _ in kept.values()} == {"int8"}
    everything = edgelstm.quantize_reported(model, objective="size", tolerance=math.inf).report
    assert {entry.kept for entry in everything.entries} == {"int8"}
    assert everything.to_json()["tolerance"] == "inf"


def test_each_output_has_its_own_allowance():
    """What is little beside a large output is much for a small one."""
    expected = {"large": np.linspace(0, 1000, 9, dtype=np.float32), "small": np.linspace(0, 1, 9, dtype=np.float32)}
    allowed = allowances(expected, None)
    assert allowed["small"].max == pytest.approx(0.05)
    assert allowed["large"].rms == pytest.approx(2.5)
    got = {name: value + np.float32(0.04) for name, value in expected.items()}
    errors = differences(expected, got)
    assert excess({"large": errors["large"]}, allowed) < 0.1
    assert excess(errors, allowed) == pytest.approx(0.04 / 0.0025, rel=1e-3)
    assert excess(errors, allowances(expected, math.inf)) == 0
    assert excess(errors, allowances(expected, 0.0)) == math.inf
    got["small"][3] = np.nan
    assert excess(differences(expected, got), allowed) == math.inf


def test_speed_takes_what_the_table_says_is_faster():
    small, large = lstm(4, 8), lstm(64, 256)
    for target in table():
        costs = costs_of(target)
        for one in (small, large):
            _, report = edgelstm.quantize_reported(one, objective="speed", target=target, tolerance=math.inf)
            for entry, matrix in zip(report.entries, matrices(one.graph), strict=True):
                assert (entry.kept == "int8") == (costs.in_int8(matrix) < costs.in_float(matrix))
    _, report = edgelstm.quantize_reported(large, objective="speed", target="x86-vnni")
    assert [entry.kept for entry in report.entries[:2]] == ["int8", "int8"]


def test_the_same_input_gives_the_same_file(model, tmp_path):
    xs = readings(200, 6)
    for number, options in enumerate(({}, {"activations": "calibrated", "method": "mse"}, {"float16": True})):
        for name in "ab":
            edgelstm.quantize(model, xs, objective="size", **options).save(tmp_path / f"{name}{number}.edgelstm")
        assert (tmp_path / f"a{number}.edgelstm").read_bytes() == (tmp_path / f"b{number}.edgelstm").read_bytes()


def test_a_file_gives_the_same_numbers(model, tmp_path):
    xs = readings(100, 6)
    quantized = edgelstm.quantize(model, xs, objective="size", activations="calibrated", float16=True)
    quantized.save(tmp_path / "q.edgelstm")
    loaded = edgelstm.load(tmp_path / "q.edgelstm")
    assert loaded.hash == quantized.hash
    np.testing.assert_array_equal(loaded.stream().run(xs), quantized.stream().run(xs))
    stored = {array.dtype.name for array in loaded.graph.constants.values()}
    assert stored == {"int8", "float16"}


@pytest.mark.parametrize("hidden", [128, 256])
def test_files_are_much_smaller(hidden, tmp_path):
    model = lstm(32, hidden)
    model.save(tmp_path / "float.edgelstm")
    edgelstm.quantize(model, objective="size", tolerance=math.inf).save(tmp_path / "int8.edgelstm")
    sizes = [(tmp_path / f"{name}.edgelstm").stat().st_size for name in ("float", "int8")]
    assert sizes[0] / sizes[1] >= 3.6


def test_steps_and_whole_sequences_agree_bit_for_bit():
    quantized = edgelstm.quantize(lstm(6, 40), objective="size")
    xs = readings(50, 6)
    stream = quantized.stream()
    steps = np.stack([stream.step(x) for x in xs])
    np.testing.assert_array_equal(steps, quantized.stream().run(xs))
    np.testing.assert_array_equal(steps, quantized.predict(xs[None])[0])


def test_a_long_run_keeps_its_state():
    quantized, model = edgelstm.quantize(lstm(2, 8), objective="size"), lstm(2, 8)
    xs = readings(100_000, 2)
    far = np.abs(quantized.stream().run(xs) - model.stream().run(xs))
    assert far[-1000:].max() <= 2 * far[:10_000].max()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (readings(10, 5), r"calibration: input 'x': expected readings of shape \(6,\)"),
        (np.where(np.arange(6) == 2, np.nan, readings(10, 6)), "got nan at row 0, column 2"),
        (np.where(np.arange(6) == 4, 1.5, readings(10, 6)), "column 4 is 1.5 in every reading"),
        (readings(0, 6), "is empty"),
        (readings(1, 6), "at least 2 readings"),
        ("readings.csv", "expected float32"),
        ({"y": readings(10, 6)}, "missing x and unknown y"),
    ],
)
def test_calibration_data_that_does_not_fit(model, bad, message):
    with pytest.raises(InputError, match=message):
        edgelstm.quantize(model, bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "small"}, "objective: expected speed or size, got 'small'"),
        ({"activations": "static"}, "activations: expected dynamic or calibrated"),
        ({"activations": "calibrated"}, "needs calibration data"),
        ({"tolerance": 0.1}, "it needs calibration data"),
        ({"tolerance": -1.0}, "expected a number from 0 on, or inf"),
        ({"tolerance": math.nan}, "expected a number from 0 on, or inf"),
        ({"target": "pi9"}, "target: expected native or one of x86-vnni"),
        ({"keep": ["no.x"]}, "keep: 'no.x' is no matrix; the model has"),
        ({"method": "best"}, "method: expected minmax or percentile or mse"),
    ],
)
def test_options_that_do_not_fit(model, options, message):
    with pytest.raises(InputError, match=message):
        edgelstm.quantize_reported(model, **options)


def test_a_file_with_a_bad_scale_is_refused(model, tmp_path):
    quantized = edgelstm.quantize(model, objective="size")
    name = next(iter(quantized.graph.scales))
    for bad in (0.0, np.nan):
        scale = quantized.graph.scales[name].copy()
        scale[0, 1] = bad
        damaged = replace(quantized.graph, scales={**quantized.graph.scales, name: scale})
        from edgelstm import file

        file.save(damaged, tmp_path / "bad.edgelstm")
        with pytest.raises(FormatError, match=f"scales of '{name}'"):
            edgelstm.load(tmp_path / "bad.edgelstm")


def test_fixed_scales_hold_the_range():
    values = np.concatenate([np.linspace(0, 10, 1001), [1000.0]]).astype(np.float32)
    scale, zero = input_scale(values, "minmax")
    assert scale == pytest.approx(1000 / 254)
    assert zero == -127
    assert input_scale(values, "percentile")[0] < 0.05
    assert input_scale(np.zeros(9, np.float32), "mse") == (0.0, 0)


# --- real models, on the figures of ONNX Runtime's dynamic quantization of their recurrent weights --------------


def errors(model, quantized, xs, **options):
    far = quantized.stream(**options).run(xs).astype(np.float64) - model.stream(**options).run(xs)
    return float(np.abs(far).max()), float(np.sqrt(np.mean(far**2)))


def silero():
    """The model, its recording in chunks, sizes for streams."""
    golden = np.load(MODELS / "silero_vad" / "golden.npz")
    samples = np.concatenate([np.zeros(64), golden["pcm16k"] / 32768]).astype(np.float32)
    xs = np.stack([samples[start : start + 576] for start in range(0, len(samples) - 64, 512)])
    model = edgelstm.load(MODELS / "silero_vad" / "silero_vad.onnx", constants={"sr": 16000})
    (free,) = (str(dim) for dim in model.inputs["input"].shape if str(dim) != "B")
    return model, xs, {"sizes": {free: 576}}


def dtln():
    """The model and spectra of its recording."""
    samples = np.load(MODELS / "dtln" / "golden.npz")["pcm"].astype(np.float32) / 32768
    padded = np.concatenate([np.zeros(384, np.float32), samples])
    blocks = [padded[start : start + 512] for start in range(0, len(samples) - 127, 128)]
    return edgelstm.load(MODELS / "dtln" / "model_1.onnx"), np.abs(np.fft.rfft(np.stack(blocks))).astype(np.float32)


@pytest.mark.parametrize("objective", ["speed", "size"])
@pytest.mark.parametrize("rows", [0, 100, 200])
def test_silero_vad(rows, objective):
    """By default, with the data that it is judged by, half of them, or none."""
    pytest.importorskip("onnx")
    model, xs, options = silero()
    quantized = edgelstm.quantize(model, xs[:rows] if rows else None, objective, "x86-vnni", **options)
    assert quantized.graph.scales
    largest, rms = errors(model, quantized, xs, **options)
    assert largest <= 0.024
    assert rms <= 0.0036
    decided = [one.stream(**options).run(xs) > 0.5 for one in (model, quantized)]
    assert np.array_equal(*decided)


@pytest.mark.parametrize("objective", ["speed", "size"])
@pytest.mark.parametrize("rows", [0, 100, 200])
def test_dtln(rows, objective):
    pytest.importorskip("onnx")
    model, xs = dtln()
    quantized = edgelstm.quantize(model, xs[:rows] if rows else None, objective, "x86-vnni")
    assert quantized.graph.scales
    largest, rms = errors(model, quantized, xs)
    assert largest <= 0.082
    assert rms <= 0.0043


def test_weights_stay_int8_in_memory():
    """Resident bytes: the weights of a program are the integers, one scale and one sum an output, and biases."""
    model = lstm(64, 128)
    whole, quantized = model, edgelstm.quantize(model, objective="size", weights_only=True, tolerance=math.inf)
    step = [one._step(_options())[0].graph for one in (whole, quantized)]
    sizes = [lower(graph).weights.nbytes for graph in step]
    assert sizes[0] / sizes[1] >= 3.5
    assert value(quantized.graph, matrices(model.graph)[0].constant).dtype == np.float32


def _options():
    from edgelstm.passes.stream import StreamOptions

    return StreamOptions()


def test_weights_alone_are_close():
    model, xs = lstm(6, 40), readings(300, 6)
    largest, _ = errors(model, edgelstm.quantize(model, objective="size", weights_only=True), xs)
    both, _ = errors(model, edgelstm.quantize(model, objective="size"), xs)
    assert 0 < largest < both


def test_a_quantized_model_quantizes_no_further(model):
    once = edgelstm.quantize(model, objective="size", tolerance=math.inf)
    assert not matrices(once.graph)
    assert Model(once.graph).hash == edgelstm.quantize(once, objective="size").hash


@pytest.mark.skipif(not (MODELS / "rnnoise" / "rnnoise.onnx").exists(), reason="the model is not there")
def test_rnnoise_keeps_its_own_integers():
    """Its weights are int8 / 256: they stay so, in the graph and in the program."""
    pytest.importorskip("onnx")
    model = edgelstm.load(MODELS / "rnnoise" / "rnnoise.onnx")
    exact = Model(store_exact(model.graph, 1 / 256))
    for one in matrices(model.graph):
        kept = exact.graph.constants[one.constant]
        assert kept.dtype == np.int8
        np.testing.assert_array_equal(value(exact.graph, one.constant), model.graph.constants[one.constant])
    sizes = [sum(a.nbytes for a in one.graph.constants.values()) for one in (model, exact)]
    assert sizes[0] / sizes[1] > 3.8
    resident = [lower(one._step(_options())[0].graph).weights.nbytes for one in (model, exact)]
    assert resident[0] / resident[1] > 3
    golden = np.load(MODELS / "rnnoise" / "golden.npz")
    name = next(key for key in golden.files if golden[key].shape == (300, 42))
    want, got = (one.stream().run(golden[name]) for one in (model, exact))
    for key in want:
        np.testing.assert_allclose(got[key], want[key], atol=1e-4)


def test_weights_that_are_not_multiples_stay_float(model):
    assert not store_exact(model.graph, 1 / 256).scales
    with pytest.raises(InputError, match="step: expected a number above 0"):
        store_exact(model.graph, 0.0)
