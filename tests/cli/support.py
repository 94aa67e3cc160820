"""Small models for the command line, and calling it in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.cli import main


def weights(inputs: int = 3, hidden: int = 4, outputs: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict: an LSTM and a linear head."""
    rng = np.random.default_rng(seed)
    shapes = {
        "lstm.weight_ih_l0": (4 * hidden, inputs),
        "lstm.weight_hh_l0": (4 * hidden, hidden),
        "lstm.bias_ih_l0": (4 * hidden,),
        "lstm.bias_hh_l0": (4 * hidden,),
        "head.weight": (outputs, hidden),
        "head.bias": (outputs,),
    }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def saved(folder: Path, **sizes: int) -> Path:
    """An .edgelstm file of such a model."""
    path = folder / "m.edgelstm"
    edgelstm.from_arrays(weights(**sizes)).save(path)
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse leaves this way
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_one_sentence(error: str) -> None:
    """What a refusal looks like."""
    assert error.startswith("edgelstm: ")
    assert "Traceback" not in error
    assert error.count("\n") == 1
