"""Writes the Keras files of this folder and what Keras itself answers: run once with Keras 3, once with Keras 2.15.

    python generate.py FOLDER [NAME...]

Every model is a function below; the file name says which Keras wrote it (`lstm_dense.k3.keras`). `k3.npz` and `k2.npz`
hold x, y and, where a model has several, their names: `<model>/x/<input>`, `<model>/y/<output>`; `masks_k3.npz` and
`masks_k2.npz` those of the models with masks.
"""

import io
import os
import sys
import zlib
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

try:
    import keras
except ImportError:
    from tensorflow import keras
import numpy as np

L = keras.layers
VERSION = int(keras.__version__.split(".")[0])


def sequential(shape, *layers, batch=None):
    return keras.Sequential([keras.Input(shape, batch_size=batch), *layers])


def lstm_dense():
    return sequential((None, 3), L.LSTM(5), L.Dense(2))


def lstm_stack():
    inner = L.TimeDistributed(L.Dense(2, activation="tanh"))
    return sequential(
        (None, 3), L.LSTM(4, return_sequences=True, unroll=False), L.LSTM(3, return_sequences=True), inner
    )


def window_lstm():
    return sequential((20, 1), L.LSTM(6, return_sequences=True, unroll=True), L.Dropout(0.2), L.LSTM(5), L.Dense(1))


def gru_variants():
    return sequential(
        (None, 3),
        L.GRU(4, return_sequences=True),
        L.GRU(4, return_sequences=True, reset_after=False),
        L.GRU(4, return_sequences=True, use_bias=False),
        L.GRU(3, use_bias=False, reset_after=False, recurrent_activation="hard_sigmoid", activation="relu"),
    )


def simple_rnn():
    return sequential(
        (None, 3),
        L.LSTM(4, go_backwards=True, return_sequences=True),
        L.SimpleRNN(4, return_sequences=True),
        L.SimpleRNN(3, activation="relu", go_backwards=True),
    )


def lstm_functions():
    return sequential(
        (None, 3),
        L.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid", activation="softsign"),
        L.LSTM(4, return_sequences=True, activation="elu", use_bias=False),
        L.LSTM(3, return_sequences=True, activation="linear", recurrent_activation="sigmoid"),
    )


def bidirectional():
    return sequential(
        (None, 3),
        L.Bidirectional(L.LSTM(3, return_sequences=True)),
        L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="mul"),
        L.Bidirectional(L.LSTM(2), merge_mode="ave"),
    )


def bidirectional_last():
    backward = L.SimpleRNN(3, go_backwards=True, activation="softsign")
    return sequential((None, 3), L.Bidirectional(L.SimpleRNN(3), backward_layer=backward, merge_mode="sum"))


def embedding_gru():
    return sequential(
        (None,),
        L.Embedding(11, 4),
        L.SpatialDropout1D(0.3),
        L.GRU(5, return_sequences=True),
        L.GlobalMaxPooling1D(),
        L.Dense(3, activation="softmax"),
    )


def conv_causal():
    return sequential(
        (None, 2),
        L.Conv1D(4, 3, padding="causal", activation="relu"),
        L.BatchNormalization(),
        L.Conv1D(4, 3, padding="causal", dilation_rate=2, groups=2, use_bias=False),
        L.BatchNormalization(scale=False, epsilon=1e-2),
        L.LSTM(3, return_sequences=True),
        L.LayerNormalization(),
        L.Dense(2),
    )


def conv_same():
    return sequential(
        (13, 2),
        L.Conv1D(4, 4, padding="same", dilation_rate=1, activation="tanh"),
        L.Conv1D(4, 3, padding="same", strides=2),
        L.MaxPooling1D(3, strides=2, padding="same"),
        L.AveragePooling1D(3, strides=1, padding="same"),
        L.Flatten(),
        L.Dense(2),
    )


def conv_valid():
    return sequential(
        (None, 2),
        L.Conv1D(4, 2, strides=2, groups=2),
        L.MaxPooling1D(2, strides=1),
        L.AveragePooling1D(2, strides=1),
        L.LSTM(3, return_sequences=True),
        L.GlobalAveragePooling1D(),
        L.Dense(2),
    )


def functions():
    first = ["leaky_relu", "mish", "relu6", "hard_silu", "hard_tanh", "tanh_shrink", "log_sigmoid"]
    second = ["selu", "softplus", "softsign", "swish", "gelu", "exponential", "elu", "hard_sigmoid", "linear"]
    x = keras.Input((None, 3))
    h = L.Dense(4)(x)
    a, b = h, h
    for name in first:
        a = L.Activation(name)(a)
    for name in second:
        b = L.Activation(name)(b)
    return keras.Model(x, [a, b, L.Dense(3, activation="softmax")(h), L.Activation("log_softmax")(h)])


def function_layers():
    return sequential(
        (None, 3),
        L.Dense(4),
        L.LeakyReLU(0.2),
        L.Dense(4),
        L.ELU(0.7),
        L.Dense(4, activation=L.LeakyReLU(0.1)),
        L.ReLU(max_value=1.5, negative_slope=0.05),
        L.Activation("tanh"),
        L.Dense(4),
        L.ReLU(),
        L.GaussianNoise(0.1),
        L.Rescaling(2.0, offset=0.5),
        L.Softmax(),
    )


def residual():
    x = keras.Input((None, 4), name="readings")
    z = keras.Input((None, 2), name="covariates")
    h = L.LSTM(4, return_sequences=True)(x)
    h = L.Add()([h, x])
    h = L.Concatenate()([h, z])
    g = L.GRU(6, return_sequences=True)(h)
    h = L.Average()([L.Multiply()([g, h]), L.Maximum()([g, h]), L.Subtract()([g, h])])
    return keras.Model([x, z], [L.Dense(2, name="level")(h), L.Dense(1, name="alarm", activation="sigmoid")(g)])


def states():
    x = keras.Input((None, 3), name="x")
    h0 = keras.Input((4,), name="h0")
    c0 = keras.Input((4,), name="c0")
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True, name="lstm")(x, initial_state=[h0, c0])
    return keras.Model([x, h0, c0], [L.Dense(2, name="head")(y), h, c])


def encoder_decoder():
    x = keras.Input((None, 3))
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True)(x)
    z = L.LSTM(4)(y, initial_state=[h, c])
    w, forward, backward = L.Bidirectional(L.GRU(2, return_state=True))(y)
    return keras.Model(x, L.Dense(2)(L.Concatenate()([z, w, forward, backward])))


def autoencoder():
    return sequential(
        (5, 3), L.LSTM(4), L.RepeatVector(5), L.LSTM(4, return_sequences=True), L.TimeDistributed(L.Dense(3))
    )


def stateful():
    return sequential((1, 3), L.LSTM(4, stateful=True), L.Dense(2), batch=1)


def nested():
    inner = keras.Sequential([keras.Input((None, 4)), L.Dense(4, activation="tanh"), L.LSTM(3, return_sequences=True)])
    dense = L.Dense(4, activation="tanh")  # with one set of weights, applied twice
    x = keras.Input((None, 4))
    return keras.Model(x, L.Dense(2)(inner(dense(dense(x)))))


def reshaped():
    normalization = L.Normalization(axis=-1)
    normalization.adapt(np.random.default_rng(0).normal(3.0, 2.0, (1, 50, 6)))
    return sequential(
        (None, 6),
        normalization,
        L.Reshape((-1, 3, 2)),
        L.TimeDistributed(L.Flatten()),
        L.ZeroPadding1D((2, 1)),
        L.Cropping1D((1, 1)),
        L.GRU(3, return_sequences=True),
        L.LayerNormalization(center=False, epsilon=1e-2),
    )


def attention_pooling():
    x = keras.Input((6, 3))
    h = L.LSTM(4, return_sequences=True)(x)
    scores = L.Softmax(axis=1)(L.Dense(1)(h))
    pooled = L.Multiply()([h, scores])
    permuted = L.Permute((2, 1))(pooled)
    return keras.Model(x, L.Dense(2)(L.Flatten()(permuted)))


def masked():
    """A masked step in the middle, before the first and after the last: the state waits, the output repeats."""
    return sequential(
        (None, 3),
        L.Masking(0.5),
        L.LSTM(4, return_sequences=True),
        L.Dropout(0.2),
        L.GRU(4, return_sequences=True),
        L.SimpleRNN(3, return_sequences=True),
        L.GRU(4, return_sequences=True, reset_after=False),
        L.TimeDistributed(L.Dense(2)),
    )


def masked_last():
    return sequential((None, 3), L.Masking(), L.LSTM(4, return_sequences=True), L.LayerNormalization(), L.GRU(5))


def masked_both_ways():
    x = keras.Input((None,), dtype="int32")
    h = L.Embedding(7, 3, mask_zero=True)(x)
    h = L.Bidirectional(L.LSTM(3, return_sequences=True))(h)
    back = L.GRU(2, go_backwards=True, return_sequences=True)(h)
    blank = L.LSTM(3, return_sequences=True, zero_output_for_mask=True)(h)
    return keras.Model(x, [h, back, blank, L.Bidirectional(L.GRU(2), merge_mode="sum")(h)])


def masked_mean():
    return sequential(
        (None,), L.Embedding(7, 4, mask_zero=True), L.SimpleRNN(5, return_sequences=True), L.GlobalAveragePooling1D()
    )


def masked_translation():
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    _, h, c = L.LSTM(4, return_state=True)(L.Embedding(7, 3, mask_zero=True)(source))
    words = L.Embedding(7, 3, mask_zero=True)(target)
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True)(words, initial_state=[h, c])
    return keras.Model([source, target], [L.Dense(7)(y), h, c])


def masked_translation_heard():
    """As masked_translation, the mask of the second cell given by name: Keras 3 finds none beside a start state."""
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    _, h, c = L.LSTM(4, return_state=True)(L.Embedding(7, 3, mask_zero=True)(source))
    embedding = L.Embedding(7, 3, mask_zero=True)
    words, mask = embedding(target), embedding.compute_mask(target)
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True)(words, mask=mask, initial_state=[h, c])
    return keras.Model([source, target], [L.Dense(7)(y), h, c])


def masked_nested():
    words = keras.Sequential([keras.Input((None,)), L.Embedding(7, 3, mask_zero=True), L.GRU(3, return_sequences=True)])
    rest = keras.Sequential([keras.Input((None, 3)), L.Dense(3), L.LSTM(2)])
    x = keras.Input((None,))
    return keras.Model(x, rest(words(x)))


MASKED = [
    masked,
    masked_last,
    masked_both_ways,
    masked_mean,
    masked_translation,
    masked_translation_heard,
    masked_nested,
]
THREE = [
    lstm_dense, lstm_stack, window_lstm, gru_variants, simple_rnn, lstm_functions, bidirectional, bidirectional_last,
    embedding_gru, conv_causal, conv_same, conv_valid, functions, function_layers, residual, states,
    encoder_decoder, autoencoder, stateful, nested, reshaped, attention_pooling,
]  # fmt: skip
TWO = [lstm_functions, encoder_decoder]
OLD = [bidirectional, conv_causal, function_layers]  # as .h5 of Keras 2
KEEP = ("normalization",)  # layers whose weights are not numbers to be chosen


def fill(model, rng):
    """Weights that no initializer would leave out: biases, scales and statistics too."""
    for layer in model.layers:
        if not layer.name.startswith(KEEP):
            values = [rng.normal(0.0, 0.7, w.shape) for w in layer.get_weights()]
            if layer.__class__.__name__ in ("BatchNormalization", "LayerNormalization"):
                values = [np.abs(v) + 0.5 for v in values]
            layer.set_weights(values)


def example(model, rng):
    found = []
    for tensor in model.inputs:
        batch, *rest = tensor.shape
        shape = (batch or 2, *(size or 9 for size in rest))
        tokens = any(layer.__class__.__name__ == "Embedding" for layer in model.layers)
        found.append(rng.integers(0, 11, shape) if tokens else rng.normal(0, 1, shape).astype(np.float32))
    return found


def padded(model, rng):
    """Examples in which some steps are padding: at the beginning, in the middle, at the end, and one row of padding."""
    found = []
    for tensor in model.inputs:
        _, *rest = tensor.shape
        shape = (4, *(size or 9 for size in rest))
        keep = np.ones(shape[:2], bool)
        keep[0, :2] = keep[0, 4] = keep[1, 5:] = keep[2, 3:5] = keep[3] = False
        if len(rest) == 1:
            found.append(np.where(keep, rng.integers(1, 7, shape), 0))
        else:
            value = getattr(model.layers[0], "mask_value", 0.0)
            x = np.where(keep[:, :, None], rng.normal(0, 1, shape), value).astype(np.float32)
            x[2, 0, 1] = value  # one feature of three is not enough
            found.append(x)
    return found


def mask_files(folder, names):
    golden = {}
    for build in [
        one for one in MASKED if one.__name__ in names and (VERSION == 3 or one is not masked_translation_heard)
    ]:
        keras.backend.clear_session()
        name, rng = build.__name__, np.random.default_rng(zlib.crc32(build.__name__.encode()))
        model = build()
        fill(model, rng)
        x = padded(model, rng)
        y = model.predict(x if len(x) > 1 else x[0], verbose=0, batch_size=len(x[0]))
        model.save(folder / f"{name}.k{VERSION}.keras")
        golden |= {f"{name}/x/{number}": array for number, array in enumerate(x)}
        golden |= {f"{name}/y/{n}": np.asarray(array) for n, array in enumerate(y if isinstance(y, list) else [y])}
    np.savez_compressed(folder / f"masks_k{VERSION}.npz", **golden)


def main(folder):
    made, golden = THREE if VERSION == 3 else TWO, {}
    for build in dict.fromkeys([*made, *(OLD if VERSION == 2 else [])]):
        keras.backend.clear_session()
        name, rng = build.__name__, np.random.default_rng(zlib.crc32(build.__name__.encode()))
        model = build()
        fill(model, rng)
        x = example(model, rng)
        y = model.predict(x if len(x) > 1 else x[0], verbose=0, batch_size=len(x[0]))
        if build in made:
            model.save(folder / f"{name}.k{VERSION}.keras")
        if build in OLD and VERSION == 2:
            model.save(folder / f"{name}.k{VERSION}.h5")
        if build is gru_variants:
            model.save_weights(str(folder / f"{name}.k{VERSION}.weights.h5"))
            (folder / f"{name}.k{VERSION}.json").write_text(model.to_json(), encoding="utf-8")
        if build is lstm_functions and VERSION == 2:
            model.save_weights(str(folder / f"{name}.k2_weights.h5"))
            (folder / f"{name}.k2.json").write_text(model.to_json(), encoding="utf-8")
        for number, array in enumerate(x):
            golden[f"{name}/x/{number}"] = array
        for number, array in enumerate(y if isinstance(y, list) else [y]):
            golden[f"{name}/y/{number}"] = np.asarray(array)
        print(f"{name}: {model.count_params()} weights")
    data = io.BytesIO()
    np.savez_compressed(data, **golden)
    (folder / f"k{VERSION}.npz").write_bytes(data.getvalue())


if __name__ == "__main__":
    if not sys.argv[2:]:
        main(Path(sys.argv[1]))
    mask_files(Path(sys.argv[1]), sys.argv[2:] or [build.__name__ for build in MASKED])
