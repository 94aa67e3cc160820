"""Many streams: 256 of 10,000 LSTMs a call, one thread, against ONNX Runtime with a batch of 256 in the same run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.cells import layer_model, onnx_layer, onnxruntime_session
from benchmarks.measure import interleaved

INPUTS, KEYS, CALL = 16, 10_000, 256
HIDDEN = (32, 64, 128)


def measure(rounds: int) -> list[dict[str, object]]:
    """A row for each size: million steps a second, and ratios."""
    return [_row(hidden, rounds) for hidden in HIDDEN]


def _row(hidden: int, rounds: int) -> dict[str, object]:
    calls = {"slots": ours(hidden, resolve=True), "keys": ours(hidden, resolve=False), "ort": onnxruntime(hidden)}
    timings = interleaved(calls, rounds)
    rates = {name: CALL / timing.median for name, timing in timings.items()}
    return {
        "layer": f"LSTM {INPUTS}→{hidden}",
        "by slots, million steps/s": f"{rates['slots']:.2f}",
        "string keys": f"{rates['keys']:.2f}",
        "ONNX Runtime, batch 256": f"{rates['ort']:.2f}",
        "ratio by slots": f"{rates['slots'] / rates['ort']:.2f}×",
        "ratio with keys": f"{rates['keys'] / rates['ort']:.2f}×",
    }


def ours(hidden: int, resolve: bool) -> Callable[[], object]:
    """256 random keys of 10,000, another 256 at each call."""
    pool = layer_model("LSTM", INPUTS, hidden).pool(capacity=KEYS)
    names = [f"device/{number}" for number in range(KEYS)]
    pool.slots(names)
    rng = np.random.default_rng(0)
    groups = [[names[n] for n in rng.permutation(KEYS)[:CALL]] for _ in range(39)]
    chosen = [pool.slots(group) if resolve else group for group in groups]
    xs = rng.normal(0, 1, (CALL, INPUTS)).astype(np.float32)
    turn = iter(range(1 << 60))
    step = pool.step

    def call() -> object:
        return step(chosen[next(turn) % 39], xs)

    return call


def onnxruntime(hidden: int) -> Callable[[], object]:
    """One batch of 256, states fed back: without the gathering that 10,000 keys would ask for."""
    session = onnxruntime_session(onnx_layer("LSTM", INPUTS, hidden, dynamic=True))
    rng = np.random.default_rng(0)
    zeros = np.zeros((1, CALL, hidden), np.float32)
    feeds = {"X": rng.normal(0, 1, (1, CALL, INPUTS)).astype(np.float32), "h": zeros, "c": zeros}

    def call() -> object:
        y, feeds["h"], feeds["c"] = session.run(["y", "Y_h", "Y_c"], feeds)
        return y

    return call
