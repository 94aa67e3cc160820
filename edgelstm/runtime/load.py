"""Read a model from whatever file it is in; converters are imported only when a file needs them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelstm import file
from edgelstm.errors import FormatError, InputError
from edgelstm.runtime.model import Model

ONNX = (".onnx",)
STATE_DICTS = (".pt", ".pth", ".safetensors")
KERAS = (".keras", ".h5", ".hdf5")
OWN = ".edgelstm"


def load(
    path: str | os.PathLike[str],
    *,
    states: Mapping[str, str] | None = None,
    layers: Sequence[Mapping[str, Any]] | None = None,
    constants: Mapping[str, Any] | None = None,
    external_data: bool = False,
    repair: bool = False,
    native: bool = True,
    self_test: bool = True,
) -> Model:
    """A model from a file, or from a folder that `edgelstm build` wrote.

    Args:
        path: `.edgelstm`; or through the converters `.onnx`, `.pt`, `.pth`, `.safetensors`, `.keras`, `.h5`; or a
            folder that `edgelstm build` wrote, whose library runs the model. A library is code: loading one runs it.
            A live torch.nn.Module is read as by `from_module`.
        states: input name → output name of state pairs that data flow does not show.
        layers: the architecture of a state dict, where its names and shapes leave more than one reading, or of an
            `.h5` that holds weights alone.
        constants: input name → value of inputs of an ONNX file that never change: `{"sr": 16000}`. They are inputs no
            more, and conditions on them are decided.
        external_data: also read the files that an ONNX file keeps its weights in; they must stand in its folder and
            be no links.
        repair: put known faults of exporters of ONNX files right; `edgelstm convert` lists them.
        native: False refuses folders with a library.
        self_test: whether the library of a folder must first reproduce the folder's golden vectors.

    Raises:
        FormatError: the file is damaged or of an unknown kind.
        UnsupportedError: the model asks for something that is not honoured; names it.
        InputError: `states`, `layers` or `constants` do not fit.
        DependencyError: a converter's library is missing; names the extra to install.
        FileNotFoundError: there is no such file.
    """
    if hasattr(path, "named_modules"):
        if constants is not None or external_data or repair:
            raise InputError("constants=, external_data= and repair= are for ONNX files, not for a live module")
        return Model(from_module(path, layers).graph, states)
    if Path(path).is_dir():
        from edgelstm.runtime.folder import load_folder

        if layers is not None or constants is not None:
            raise InputError(f"{path}: layers= and constants= are for files to convert, and this is a built folder")
        return load_folder(Path(path), states, native=native, self_test=self_test)
    suffix = Path(path).suffix.lower()
    if layers is not None and suffix not in (*STATE_DICTS, *KERAS):
        described = ", ".join((*STATE_DICTS, *KERAS))
        raise InputError(f"{path}: layers= describes weights ({described}), not a {suffix or 'nameless'} file")
    if (constants is not None or external_data) and suffix not in ONNX:
        raise InputError(
            f"{path}: constants= and external_data= are for ONNX files, not for a {suffix or 'nameless'} file"
        )
    if repair and suffix not in ONNX:
        raise InputError(f"{path}: repair= puts faults of ONNX files right, not of a {suffix or 'nameless'} file")
    if suffix == OWN:
        return Model(file.load(path), states)
    if suffix in ONNX:
        from edgelstm_converters.onnx import load_onnx

        return Model(load_onnx(path, constants=constants, external_data=external_data, repair=repair).graph, states)
    if suffix in STATE_DICTS:
        from edgelstm_converters.torch import load_state_dict

        return Model(load_state_dict(path, layers).graph, states)
    if suffix in KERAS:
        from edgelstm_converters.keras import load_keras

        return Model(load_keras(path, layers).graph, states)
    known = ", ".join((OWN, *ONNX, *STATE_DICTS, *KERAS))
    raise FormatError(f"{path}: unknown kind of file {suffix!r}; expected one of {known}")


def parse_constants(texts: Sequence[str]) -> dict[str, Any] | None:
    """What `load` takes as `constants`, from texts such as "sr=16000" or "weights=[0.5, 0.5]"; None if there are none.

    Raises:
        InputError: one is not NAME=VALUE, or its value is no number, truth or list of such as JSON.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = json.loads(value)
            told = bool(name) and isinstance(found[name], (int, float, list))
        except (ValueError, RecursionError):
            told = False
        if not told:
            raise InputError(
                f"constants: expected NAME=VALUE with a number or a JSON list, as in sr=16000; got {text!r}"
            )
    return found or None


def from_arrays(
    arrays: Mapping[str, Any], layers: Sequence[Mapping[str, Any]] | None = None, layout: str = "torch"
) -> Model:
    """A model from named weights.

    Args:
        arrays: name → array.
        layers: the architecture, one entry a layer; may be left out where names and shapes leave one reading.
        layout: whose gate order and weight shapes the arrays have: "torch", "keras" or "onnx".

    Raises:
        InputError: an array is missing, unused or of another shape than its layer needs; names it.
        UnsupportedError: a layer asks for something that is not honoured.
    """
    from edgelstm_converters.arrays import arrays_to_graph

    return Model(arrays_to_graph(arrays, layers, layout).graph)


def from_module(module: Any, layers: Sequence[Mapping[str, Any]] | None = None) -> Model:
    """A model from a live torch.nn.Module, on the machine where it was trained.

    Args:
        module: in float, read as its state dict would be; or from `torch.ao.quantization.quantize_dynamic`, whose
            int8 weights are taken as they are.
        layers: the architecture, one entry a layer; may be left out where names and shapes leave one reading.

    Raises:
        InputError: the layers do not fit the weights, or leave more than one reading.
        UnsupportedError: weights of another kind, such as float16 packs.
    """
    from edgelstm_converters.torch import load_module

    return Model(load_module(module, layers).graph)
