"""Writes the keras_*.onnx files beside it, and keras.npz with inputs and Keras' own outputs.

python generate_keras.py (Keras 3.15 on PyTorch 2.13, which exports through TorchScript and unrolls every
recurrent layer).
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

from pathlib import Path

import keras
import numpy as np
from keras import layers

HERE = Path(__file__).parent
SHAPE, UNITS = (7, 3), 4


def cases():
    """Name → recurrent layers."""
    return {
        "lstm": [layers.LSTM(UNITS)],
        "lstm_sequence": [layers.LSTM(UNITS, return_sequences=True)],
        "lstm_stacked": [layers.LSTM(UNITS, return_sequences=True), layers.LSTM(5)],
        "lstm_backward": [layers.LSTM(UNITS, return_sequences=True, go_backwards=True)],
        "lstm_hard": [layers.LSTM(UNITS, recurrent_activation="hard_sigmoid", activation="relu")],
        "lstm_dropout": [layers.LSTM(UNITS, dropout=0.2, recurrent_dropout=0.2)],
        "lstm_both_ways": [layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))],
        "lstm_masked": [layers.Masking(), layers.LSTM(UNITS)],
        "gru": [layers.GRU(UNITS)],
        "gru_before": [layers.GRU(UNITS, reset_after=False)],
        "rnn": [layers.SimpleRNN(UNITS)],
    }


def main():
    arrays = {}
    for name, stack in cases().items():
        rng = np.random.RandomState(len(arrays))
        model = keras.Sequential([layers.Input(SHAPE), *stack, layers.Dense(1)])
        for weight in model.weights:
            weight.assign(rng.normal(size=weight.shape) * 0.5)
        x = rng.normal(size=(2, *SHAPE)).astype("float32")
        if "masked" in name:
            x[0, :2] = x[0, 4] = x[1, 5:] = 0
        model(x)
        arrays |= {f"{name}/in0": x, f"{name}/out0": np.asarray(model.predict(x, verbose=0))}
        model.export(HERE / f"keras_{name}.onnx", format="onnx", verbose=False)
    np.savez_compressed(HERE / "keras.npz", **arrays)


if __name__ == "__main__":
    main()
