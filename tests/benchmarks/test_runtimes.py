"""Every engine computes the layer that is measured; what it cannot do it says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from benchmarks import real_models
from benchmarks.layers import Layer
from benchmarks.questions import tolerance
from benchmarks.runtimes import NAMES, PEERS, Unavailable, litert, runtime, runtime_file
from tests.support import require_module

EXPECTED = ("onnxruntime", "pytorch")  # of the extras that tests come with; the others are tested where they are
CONVERTED = Path(litert.__file__).parents[1] / "peers"


def installed(name):
    return importlib.util.find_spec(runtime_file(name).PACKAGE) is not None


@pytest.mark.parametrize("name", [name for name in PEERS if name in EXPECTED or installed(name)])
@pytest.mark.parametrize(
    "layer", [Layer("LSTM", 16, 32), Layer("GRU", 16, 32), Layer("GRU", 16, 32, int8=True)], ids=str
)
def test_engines_agree(name, layer):
    require_module(runtime_file(name).PACKAGE)
    expected = runtime("edgelstm").layer(layer, 1, 1, 1)
    if layer.int8 and name not in ("litert", "pytorch"):
        with pytest.raises(Unavailable, match="int8"):
            runtime(name).layer(layer, 1, 1, 1)
        return
    call = runtime(name).layer(layer, 1, 1, 1)
    for _ in range(3):
        y = expected()
        np.testing.assert_allclose(np.ravel(call()), y, rtol=0, atol=tolerance(layer))
    assert np.abs(y).max() > 0.01


def test_int8_is_int8():
    require_module("onnx")
    from benchmarks.runtimes import edgelstm

    layer = Layer("LSTM", 16, 32, int8=True)
    kinds = {array.dtype.name for array in edgelstm.layer_model(layer).graph.constants.values() if array.ndim > 2}
    assert "int8" in kinds


def test_an_engine_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr(runtime_file("tract"), "PACKAGE", "no_such_package")
    with pytest.raises(Unavailable, match="not installed"):
        runtime("tract")
    assert [name for name in NAMES if name != "edgelstm"] == list(PEERS)


@pytest.mark.parametrize("kind", ["f32", "int8"])
def test_the_cell_built_for_litert_has_the_operators_of_the_converters(kind):
    """Two fewer: the converter adds the bias by itself, and reshapes for it."""
    if not installed("litert"):
        pytest.skip("LiteRT is not installed, which only the benchmarks need")
    converted = _operators((CONVERTED / f"lstm_cell_16_32_{kind}.tflite").read_bytes())
    built = _operators(litert._network(Layer("LSTM", 16, 32, kind == "int8"), 1))
    for extra in ("RESHAPE", "ADD"):
        converted.remove(extra)
    assert sorted(built) == sorted(converted)


def _operators(file):
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    return [names[model.operatorCodes[each.opcodeIndex].builtinCode] for each in model.subgraphs[0].operators]


def test_the_demo_with_its_states_as_ports_predicts_the_same():
    require_module("onnx")
    import edgelstm

    whole = edgelstm.load(real_models.ROOT / "edgelstm/cli/demo_data/forecaster.onnx")
    step = edgelstm.load(real_models.demo())
    readings = np.linspace(10, 20, 5, dtype=np.float32).reshape(5, 1)
    stream = step.stream()
    np.testing.assert_allclose(
        np.concatenate([stream.step(reading).ravel() for reading in readings]),
        whole.stream().run(readings).ravel(),
        rtol=0,
        atol=1e-6,
    )


def test_beatnet_as_onnx_predicts_the_published_logits():
    require_module("torch")
    import edgelstm

    stream = edgelstm.load(real_models.beatnet()).stream()
    with np.load(real_models.MODELS / "beatnet/golden.npz") as golden:
        x, logits = golden["m1_features"].astype(np.float32)[:20], golden["m1_logits"][:20]
    y = np.stack([stream.step(reading).ravel() for reading in x])
    np.testing.assert_allclose(y, logits, rtol=0, atol=1e-4)
