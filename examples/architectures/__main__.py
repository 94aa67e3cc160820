"""Export an architecture with PyTorch's exporters, load it, stream it, and say how close everything is.

python -m examples.architectures tcn
python -m examples.architectures            # all of them
"""

from __future__ import annotations

import logging
import pkgutil
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

import edgelstm
from examples.architectures.catalogue import Example

NAMES = sorted(
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if module.name not in ("__main__", "catalogue")
)


def find(name: str) -> Example:
    """The example of a file."""
    example = import_module(f"examples.architectures.{name}").EXAMPLE
    assert isinstance(example, Example)
    return example


def export(example: Example, exporter: str, path: Path) -> torch.nn.Module:
    """Write the model with batch and time left free."""
    module, x = example.build(), example.readings()[None].repeat(2, *[1] * example.readings().dim())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", min=2, max=60)}
            torch.onnx.export(
                module, (x,), path, dynamo=True, dynamic_shapes=(free,), external_data=False, verbose=False
            )
        else:
            axes = {"x": {0: "batch", 1: "time"}}
            torch.onnx.export(module, (x,), path, dynamo=False, dynamic_axes=axes, input_names=["x"])
    return module


def compare(example: Example, module: torch.nn.Module, path: Path) -> tuple[float, float]:
    """Largest difference of predict from PyTorch, and of the stream from predict; 0 where they agree bit for bit."""
    model, x = edgelstm.load(path), example.readings()
    with torch.no_grad():
        expected = module(x[None]).numpy()
    whole = model.predict(x[None].numpy())
    streamed = np.asarray(model.stream(**dict(example.stream)).run(x.numpy()))
    if whole.ndim == streamed.ndim + 1:
        wanted = whole[0]
    elif "T" in model.graph.frozen:  # the exporter fixed the length, so only the last output has an equal
        streamed, wanted = streamed[-1:], whole
    else:  # the model gives its last output alone: compare with sequences that end earlier
        wanted = np.concatenate([model.predict(x[None, : t + 1].numpy()) for t in range(len(x))])
    return float(np.abs(whole - expected).max()), float(np.abs(streamed - wanted[: len(streamed)]).max())


def main() -> int:
    names = sys.argv[1:] or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        print(f"no such example: {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            example = find(name)
            for exporter in example.exporters:
                path = Path(folder) / f"{name}.{exporter}.onnx"
                error, drift = compare(example, export(example, exporter, path), path)
                print(f"{name:20} {exporter:12} from PyTorch {error:.1e}   stream from whole {drift:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
