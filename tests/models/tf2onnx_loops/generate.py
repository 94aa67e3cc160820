"""Writes the *.onnx files beside it, and golden.npz with inputs and Keras' own outputs.

python generate.py (TensorFlow 2.15, tf2onnx 1.17).
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf2onnx
from tensorflow.keras import Sequential, layers

HERE = Path(__file__).parent
FIXED, FREE, UNITS = (7, 3), (None, 3), 4


def cases():
    """Name → the layers of a model, before its Dense layer."""
    return {
        "rnn": [layers.Input(FIXED), layers.SimpleRNN(UNITS)],
        "rnn_any_length": [layers.Input(FREE), layers.SimpleRNN(UNITS, return_sequences=True, activation="relu")],
        "rnn_both_ways": [layers.Input(FIXED), layers.Bidirectional(layers.SimpleRNN(UNITS, return_sequences=True))],
        "gru_before": [layers.Input(FIXED), layers.GRU(UNITS, reset_after=False, return_sequences=True)],
        "gru_before_any_length": [layers.Input(FREE), layers.GRU(UNITS, reset_after=False)],
        "lstm_dropout": [layers.Input(FIXED), layers.LSTM(UNITS, dropout=0.2, recurrent_dropout=0.2)],
        "stacked": [
            layers.Input(FREE),
            layers.SimpleRNN(UNITS, return_sequences=True),
            layers.GRU(5, reset_after=False),
        ],
        "cells": [
            layers.Input(FIXED),
            layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(5)], return_sequences=True),
        ],
        "lstm_masked": [layers.Input(FIXED), layers.Masking(), layers.LSTM(UNITS)],
        "lstm_masked_any_length": [
            layers.Input(FREE),
            layers.Masking(-1.0),
            layers.LSTM(UNITS, return_sequences=True),
        ],
        "gru_masked": [layers.Input(FIXED), layers.Masking(), layers.GRU(UNITS)],
        "rnn_masked": [layers.Input(FREE), layers.Masking(), layers.SimpleRNN(UNITS, return_sequences=True)],
        "lstm_masked_both_ways": [layers.Input(FREE), layers.Masking(), layers.Bidirectional(layers.LSTM(UNITS))],
        "embedding_masked": [
            layers.Input((None,), dtype="int32"),
            layers.Embedding(10, 3, mask_zero=True),
            layers.LSTM(UNITS),
        ],
    }


def readings(name, rng):
    """Two sequences; masked models get gaps at the start, inside and at the end."""
    if name == "embedding_masked":
        return np.array([[0, 0, 3, 4, 0, 5, 6], [3, 1, 0, 2, 9, 0, 0]], np.int32)
    x = rng.normal(size=(2, *FIXED)).astype(np.float32)
    if "masked" in name:
        gap = -1.0 if name == "lstm_masked_any_length" else 0.0
        x[0, :2] = x[0, 4] = x[1, 5:] = gap
    return x


def main():
    arrays = {}
    for name, stack in cases().items():
        rng = np.random.RandomState(len(arrays))
        model = Sequential([*stack, layers.Dense(1)])
        model.set_weights([(rng.normal(size=w.shape) * 0.5).astype(np.float32) for w in model.get_weights()])
        x = readings(name, rng)
        arrays |= {f"{name}/x": x, f"{name}/y": model.predict(x, verbose=0)}
        signature = [tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype, name="x")]
        tf2onnx.convert.from_keras(model, signature, opset=15, output_path=str(HERE / f"{name}.onnx"))
    np.savez_compressed(HERE / "golden.npz", **arrays)


if __name__ == "__main__":
    main()
