"""Cells that keep their state at masked steps, in int8."""

from pathlib import Path

import numpy as np
import pytest

import edgelstm

FILES = Path(__file__).parents[1] / "models" / "keras_files"


def readings():
    x = np.random.default_rng(0).normal(size=(1, 8, 3)).astype(np.float32)
    x[:, [2, 3, 6]] = 0  # what the models mask
    return x


@pytest.mark.parametrize("name", ["masked", "masked_last"])
def test_masked_models_quantized(name):
    model, x = edgelstm.load(FILES / f"{name}.k3.keras"), readings()
    quantized = edgelstm.quantize(model, objective="size", tolerance=float("inf"))
    cells = [node for node in quantized.graph.nodes if node.op in ("rnn", "gru", "lstm")]
    assert all(node.attrs["int8"] == ("x", "h") for node in cells)
    whole = quantized.predict(x)
    assert 0 < abs(whole - model.predict(x)).max() < 0.02
    assert (quantized.stream().run(x[0])[-1] == (whole[0, -1] if whole.ndim == 3 else whole[0])).all()


def test_masked_readings_change_nothing():
    model = edgelstm.load(FILES / "masked_last.k3.keras")
    quantized, x = edgelstm.quantize(model, objective="size", tolerance=float("inf")), readings()
    assert (quantized.predict(np.delete(x, [2, 3, 6], axis=1)) == quantized.predict(x)).all()
