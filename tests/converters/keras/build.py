"""Keras files written by hand, for what Keras itself would not write or what one test each needs."""

import io
import json
import zipfile
from pathlib import Path

from tests.support import require_module

FOLDER = Path(__file__).parents[2] / "models" / "keras_files"
WEIGHTS = "model.weights.h5"


def members(name):
    """The files in one of the golden archives."""
    with zipfile.ZipFile(FOLDER / name) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def archive(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def changed(tmp_path, name, change, version=None):
    """A golden archive with its config changed in place."""
    files = members(name)
    config = json.loads(files["config.json"])
    change(config)
    files["config.json"] = json.dumps(config)
    if version is not None:
        files["metadata.json"] = json.dumps({"keras_version": version})
    return archive(tmp_path / "model.keras", files)


def hdf5(fill):
    """The bytes of an HDF5 file."""
    h5py = require_module("h5py")
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        fill(file)
    return data.getvalue()


def sequential(tmp_path, layers, arrays, shape=(None, None, 3), version="3.5.0"):
    """A `.keras` archive of a Sequential: layers as (class, config), arrays by their path in the weights."""
    listed = [{"class_name": "InputLayer", "config": {"name": "in", "batch_shape": list(shape)}}]
    for number, (kind, config) in enumerate(layers):
        listed.append({"class_name": kind, "config": {"name": f"layer{number}", **config}})

    def fill(file):
        for path, array in arrays.items():
            file[path] = array

    files = {
        "config.json": json.dumps({"class_name": "Sequential", "config": {"name": "model", "layers": listed}}),
        "metadata.json": json.dumps({"keras_version": version}),
        WEIGHTS: hdf5(fill),
    }
    return archive(tmp_path / "model.keras", files)
