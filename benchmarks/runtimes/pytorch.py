"""PyTorch: `nn.LSTM`, `nn.GRU` and `nn.RNN` under inference mode, NumPy in and out; int8 by its own quantizer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layers import Layer
from benchmarks.runtimes import Call, Unavailable

NAME = "PyTorch"
PACKAGE = "torch"


def layer(layer: Layer, length: int, rows: int, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    module = getattr(torch.nn, layer.cell)(layer.inputs, layer.hidden).eval()
    parts = layer.reordered("ifco" if layer.cell == "LSTM" else "rzn")
    with torch.inference_mode():
        for name, part in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), parts, strict=True):
            getattr(module, f"{name}_l0").copy_(torch.from_numpy(part))
    if layer.int8:
        module = _quantized(module)
    x = layer.readings(length, rows)
    zeros = tuple(torch.from_numpy(zero) for zero in layer.zeros(rows).values())
    states: list[Any] = [zeros if len(zeros) > 1 else zeros[0]]

    def call() -> np.ndarray:
        with torch.inference_mode():
            y, states[0] = module(torch.from_numpy(x), states[0])
            return y.numpy()  # type: ignore[no-any-return]

    return call


def script(layer: Layer, folder: Path) -> str:
    import torch

    path = folder / "layer.pt"
    torch.save(getattr(torch.nn, layer.cell)(layer.inputs, layer.hidden).state_dict(), path)
    return f"""
import torch
torch.set_num_threads(1)
module = torch.nn.{layer.cell}({layer.inputs}, {layer.hidden})
module.load_state_dict(torch.load({str(path)!r}, weights_only=True))
with torch.inference_mode():
    module(torch.full((1, 1, {layer.inputs}), 0.5))[0].numpy()
"""


def model(path: Path, threads: int) -> Call:
    raise Unavailable("it reads no ONNX")


def _quantized(module: Any) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is being replaced by a package of its own
        if type(module) is torch.nn.RNN:
            raise Unavailable("it has no int8 RNN")
        quantize: Any = torch.ao.quantization.quantize_dynamic
        return quantize(module, {type(module)}, dtype=torch.qint8)
