"""Files that are damaged or made to harm: refused in bounded time and memory, and nothing in them is run."""

import json
import struct
import zipfile

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import EdgeLSTMError, FormatError, UnsupportedError
from tests.converters.keras.build import FOLDER, WEIGHTS, archive, changed, hdf5, members, sequential
from tests.support import require_module

load_keras = require_module("edgelstm_converters.keras").load_keras
h5py = require_module("h5py")

NAME = "lstm_dense.k3.keras"


def with_weights(tmp_path, fill):
    return archive(tmp_path / "m.keras", members(NAME) | {WEIGHTS: hdf5(fill)})


@pytest.mark.parametrize("size", [0, 4, 100, 5000, -1])
@pytest.mark.parametrize("name", [NAME, "conv_causal.k2.h5"])
def test_cut_files(tmp_path, name, size):
    path = tmp_path / name
    path.write_bytes((FOLDER / name).read_bytes()[:size])
    with pytest.raises(FormatError):
        edgelstm.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        edgelstm.load(tmp_path / "no.keras")


@pytest.mark.parametrize("missing", ["config.json", "metadata.json", WEIGHTS])
def test_missing_members(tmp_path, missing):
    files = members(NAME)
    del files[missing]
    with pytest.raises(FormatError, match=f"expected {missing} in the archive"):
        load_keras(archive(tmp_path / "m.keras", files))


def test_weights_in_several_files(tmp_path):
    files = members(NAME)
    files["model.weights.json"] = files.pop(WEIGHTS)
    with pytest.raises(UnsupportedError, match="weights in several files"):
        load_keras(archive(tmp_path / "m.keras", files))


def test_other_members_are_not_touched(tmp_path):
    """Names that lead out of the folder are read no more than any other."""
    files = members(NAME) | {"../../outside": b"x", "/etc/outside": b"x", "assets/code.py": b"raise SystemExit"}
    load_keras(archive(tmp_path / "m.keras", files))
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_names_twice(tmp_path):
    path = archive(tmp_path / "m.keras", members(NAME))
    with zipfile.ZipFile(path, "a") as out, pytest.warns(UserWarning, match="Duplicate"):
        out.writestr("config.json", b"{}")
    with pytest.raises(FormatError, match="each name once"):
        load_keras(path)


def test_zip_bombs(tmp_path):
    bomb = members(NAME) | {WEIGHTS: bytes(1 << 25)}
    with pytest.raises(FormatError, match="would become 33554432, more than weights ever do"):
        load_keras(archive(tmp_path / "m.keras", bomb, zipfile.ZIP_DEFLATED))
    wide = members(NAME) | {"config.json": b" " * (1 << 25)}
    with pytest.raises(FormatError, match=r"config\.json: expected at most"):
        load_keras(archive(tmp_path / "m.keras", wide, zipfile.ZIP_DEFLATED))


def test_deflated_archives_are_fine(tmp_path):
    load_keras(archive(tmp_path / "m.keras", members(NAME), zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000 + "]" * 200_000, "nested more than"),
        ("[" * 300 + "]" * 300, "nested more than"),
        ("{", "not JSON"),
        ("\xff\xfe", "not JSON"),
        ("[]", "expected an object"),
        ("{}", "expected a layer with a class_name"),
        ('{"a": ' + "9" * 10_000 + "}", "not JSON"),
    ],
)
def test_json(tmp_path, text, message):
    files = members(NAME) | {"config.json": text.encode("latin-1")}
    with pytest.raises(FormatError, match=message):
        load_keras(archive(tmp_path / "m.keras", files))


def test_pickled_functions_are_not_looked_at(tmp_path):
    """A Lambda layer's code stays text."""

    def edit(config):
        config["config"]["layers"].insert(
            1,
            {"class_name": "Lambda", "config": {"name": "bad", "function": {"class_name": "__lambda__", "config": {}}}},
        )

    with pytest.raises(UnsupportedError, match=r"Lambda layer 'bad'.*its code is never run"):
        load_keras(changed(tmp_path, NAME, edit))


@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links(tmp_path, kind):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["w"] = np.ones(3, np.float32)

    def fill(file):
        link = h5py.ExternalLink(str(tmp_path / "other.h5"), "/w") if kind == "external" else h5py.SoftLink("/layers")
        file["layers/dense/vars/0"] = link

    with pytest.raises(FormatError, match="'layers/dense/vars/0' is a link to another place or file"):
        load_keras(with_weights(tmp_path, fill))


def test_a_text_that_claims_gigabytes(tmp_path):
    """The HDF5 library would take them before it looks."""
    name = "lstm_functions.k2_weights.h5"
    data = bytearray((FOLDER / name).read_bytes())
    start = data.index(b"layer_names\0")
    reference = data.index(struct.pack("<I", 4), start + 60)  # the length of the first name, "lstm"
    for number, text in ((3, b"\xde"), (0, b"\xff")):
        broken = bytearray(data)
        broken[reference + number : reference + number + 1] = text
        path = tmp_path / name
        path.write_bytes(broken)
        with pytest.raises(FormatError, match=r"a text of [0-9]+ bytes is not where it should be"):
            edgelstm.load(path)


def test_hdf5_behind_other_bytes(tmp_path):
    files = members(NAME)
    files[WEIGHTS] = bytes(512) + files[WEIGHTS]
    with pytest.raises(FormatError, match="expected an HDF5 file"):
        load_keras(archive(tmp_path / "m.keras", files))


def test_newer_object_headers(tmp_path):
    with h5py.File(tmp_path / "new.h5", "w", libver="latest") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2), np.float32)
    with pytest.raises(FormatError, match=r"object headers of version .*expected those that Keras writes"):
        edgelstm.load(tmp_path / "new.h5")


def test_arrays_in_other_files(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(64))

    def outside(file):
        file.create_dataset("layers/a", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])

    def virtual(file):
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (4,))
        file.create_virtual_dataset("layers/a", layout)

    for fill in (outside, virtual):
        with pytest.raises(FormatError, match="its values are in another file"):
            load_keras(with_weights(tmp_path, fill))


def test_arrays_that_are_not_there(tmp_path):
    def empty(file):
        file.create_dataset("layers/a", (1 << 20,), "f4")  # never written: no byte in the file

    def enormous(file):
        file.create_dataset("layers/a", (1 << 40,), "f4", chunks=(1 << 16,), compression="gzip")

    def gzipped(file):
        data = file.create_dataset("layers/a", (1 << 23,), "f4", chunks=(1 << 23,), compression="gzip")
        data[:] = 0

    for fill, message in (
        (empty, "expected 4194304 bytes, but the file holds 0"),
        (enormous, "more bytes than a file of this size can hold"),
        (gzipped, "more bytes than a file of this size can hold"),
    ):
        with pytest.raises(FormatError, match=message):
            load_keras(with_weights(tmp_path, fill))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["text"], "expected numbers"),
        (np.zeros((1,) * 9, np.float32), "at most 8 axes"),
        (np.zeros(2, np.complex64), "expected numbers"),
    ],
)
def test_odd_arrays(tmp_path, value, message):
    def fill(file):
        file["layers/a"] = value

    with pytest.raises(FormatError, match=message):
        load_keras(with_weights(tmp_path, fill))


def test_other_compression(tmp_path):
    def fill(file):
        file.create_dataset("layers/a", data=np.zeros(64, np.float32), compression="lzf")

    with pytest.raises(FormatError, match="compressed in another way than gzip"):
        load_keras(with_weights(tmp_path, fill))


def test_groups_in_one_another(tmp_path):
    def deep(file):
        file["/".join(["layers"] * 40)] = np.zeros(1, np.float32)

    def endless(file):
        group = file.create_group("layers")
        group["again"] = group

    for fill in (deep, endless):
        with pytest.raises(FormatError, match="groups more than 32 deep"):
            load_keras(with_weights(tmp_path, fill))


def test_not_finite(tmp_path):
    arrays = {"layers/dense/vars/0": np.full((3, 2), np.nan), "layers/dense/vars/1": np.zeros(2)}
    with pytest.raises(
        EdgeLSTMError, match=r"Dense layer 'layer0'.*array 'layers/dense/vars/0': expected finite values"
    ):
        load_keras(sequential(tmp_path, [("Dense", {"units": 2})], arrays))


def test_gzip_and_bfloat16_are_read(tmp_path):
    kernel = np.arange(6, dtype=np.float32).reshape(3, 2)

    def fill(file):
        file.create_dataset("layers/dense/vars/0", data=kernel, compression="gzip")
        bits = (np.array([1.5, -2.0], np.float32).view("<u4") >> 16).astype("<u2").view("V2")
        file.create_dataset("layers/dense/vars/1", data=bits)
        file["layers/dense/vars/1"].attrs["dtype"] = "bfloat16"

    path = sequential(tmp_path, [("Dense", {"units": 2})], {})
    with zipfile.ZipFile(path) as source:
        files = {name: source.read(name) for name in source.namelist()} | {WEIGHTS: hdf5(fill)}
    model = edgelstm.load(archive(tmp_path / "m.keras", files))
    x = np.array([[[1.0, 2.0, 3.0]]], np.float32)
    np.testing.assert_array_equal(model.run({"x": x})["y"], x @ kernel + [1.5, -2.0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([None, None, 1 << 40], "batch_shape: expected sizes from 1"),
        ([None, -3, 3], "batch_shape: expected sizes from 1"),
        ([None, None, None], "expected a fixed number of features"),
        ([None] * 20, "batch_shape: expected sizes from 1"),
        ([], "batch_shape: expected sizes from 1"),
        ("x", "batch_shape: expected sizes from 1"),
    ],
)
def test_shapes(tmp_path, shape, message):
    with pytest.raises(EdgeLSTMError, match=message):
        load_keras(sequential(tmp_path, [("ReLU", {})], {"layers/dense/vars/0": np.ones(2)}, shape))


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("RepeatVector", {"n": 1 << 30}, "n: expected a whole number from 1 to"),
        ("MaxPooling1D", {"pool_size": 1 << 40}, "pool_size: expected a whole number from 1 to"),
        ("AveragePooling1D", {"pool_size": 1 << 16}, "pool_size = 65536 is not supported"),
        ("ZeroPadding1D", {"padding": [1 << 30, 0]}, "padding: expected one number, or one for each end"),
    ],
)
def test_sizes(tmp_path, kind, config, message):
    shape = (None, 4096) if kind == "RepeatVector" else (None, None, 1 << 20)
    with pytest.raises(EdgeLSTMError, match=message):
        load_keras(sequential(tmp_path, [(kind, config)], {"layers/dense/vars/0": np.ones(2)}, shape))


def test_values_that_grow(tmp_path):
    """Thirty layers that each double the features."""

    def tensor(name):
        return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}

    layers = [{"class_name": "InputLayer", "name": "l0", "config": {"name": "l0", "batch_shape": [None, None, 3]}}]
    for number in range(30):
        last = tensor(f"l{number}")
        call = {"args": [[last, last]], "kwargs": {}}
        config = {"name": f"l{number + 1}", "axis": -1}
        layers.append({"class_name": "Concatenate", "config": config, "inbound_nodes": [call]})
    config = {"layers": layers, "input_layers": ["l0", 0, 0], "output_layers": ["l30", 0, 0]}
    files = members(NAME) | {"config.json": json.dumps({"class_name": "Functional", "config": config})}
    with pytest.raises(UnsupportedError, match="expected axes of at most 16777216"):
        load_keras(archive(tmp_path / "m.keras", files))


def test_too_many_layers(tmp_path):
    with pytest.raises(UnsupportedError, match="expected at most 1000 layers"):
        load_keras(sequential(tmp_path, [("ReLU", {})] * 1001, {"layers/dense/vars/0": np.ones(2)}))


def test_models_in_models(tmp_path):
    inner = {"class_name": "ReLU", "config": {"name": "r"}}
    for number in range(12):
        inner = {"class_name": "Sequential", "config": {"name": f"s{number}", "layers": [inner]}}
    files = members(NAME) | {"config.json": json.dumps(inner)}
    with pytest.raises(UnsupportedError, match="8 models in one another"):
        load_keras(archive(tmp_path / "m.keras", files))
