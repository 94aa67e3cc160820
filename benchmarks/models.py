"""One step of real models from Python, states carried, against ONNX Runtime with its states fed back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import edgelstm
from benchmarks.cells import Call, onnxruntime_session
from benchmarks.measure import interleaved

FOLDER = Path(__file__).parents[1] / "tests" / "models"
FILES = {
    "silero VAD, 16 kHz, one chunk": "silero_vad/silero_vad_16k_sequence.onnx",
    "DTLN, first model, one frame": "dtln/model_1.onnx",
    "rnnoise, one frame": "rnnoise/rnnoise.onnx",
}


def measure(rounds: int) -> list[dict[str, object]]:
    """A row for each model: microseconds and the ratio."""
    return [_row(name, FOLDER / path, rounds) for name, path in FILES.items()]


def _row(name: str, path: Path, rounds: int) -> dict[str, object]:
    model = edgelstm.load(path)
    timings = interleaved({"ours": _ours(model), "theirs": _theirs(model, path)}, rounds)
    mine, theirs = timings["ours"], timings["theirs"]
    return {
        "model": name,
        "step() µs": f"{mine.median:.1f} ({mine.low:.1f}–{mine.high:.1f})",
        "ONNX Runtime µs": f"{theirs.median:.1f} ({theirs.low:.1f}–{theirs.high:.1f})",
        "ratio": f"{theirs.median / mine.median:.1f}×",
    }


def _ours(model: edgelstm.Model) -> Call:
    stream = model.stream()
    ((_, kind),) = stream.inputs.items()
    x = np.random.default_rng(0).normal(size=kind.shape).astype(np.float32)  # type: ignore[arg-type]
    return lambda: stream.step(x)


def _theirs(model: edgelstm.Model, path: Path) -> Call:
    session = onnxruntime_session(path.read_bytes())
    feeds = {
        source.name: np.zeros([dim if isinstance(dim, int) else 1 for dim in source.shape], np.float32)
        for source in session.get_inputs()
    }
    (x,) = (name for name in feeds if name not in {state.name for state in model.states})
    feeds[x][...] = np.random.default_rng(0).normal(size=feeds[x].shape)
    carried = {state.name: state.output for state in model.states}
    names = [output.name for output in session.get_outputs()]

    def call() -> object:
        results = dict(zip(names, session.run(names, feeds), strict=True))
        for before, after in carried.items():
            feeds[before] = results[after]
        return results

    return call
