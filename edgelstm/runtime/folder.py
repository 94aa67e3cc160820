"""Loading what `edgelstm build` wrote: a model whose machine is the library in its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm import file
from edgelstm.errors import EdgeLSTMError, FormatError, InputError
from edgelstm.machine.executor import Machine
from edgelstm.machine.native import check_owner, load_library
from edgelstm.passes.stream import StreamOptions
from edgelstm.program.status import OK
from edgelstm.runtime.model import Model
from edgelstm.runtime.options import stream_options

CARD, GOLDEN, MODEL = "card.json", "golden.bin", "model.edgelstm"
VERSION = 1


def load_folder(
    folder: Path, states: Mapping[str, str] | None = None, *, native: bool = True, self_test: bool = True
) -> Model:
    """The model of a folder, run by the library in it and streamed as it was built, with neither numba nor llvmlite.

    Args:
        folder: what `edgelstm build` wrote.
        states: as in `edgelstm.load`.
        native: False refuses, since a library is code.
        self_test: stream the golden readings and compare.

    Raises:
        FormatError: a file is missing, cut short or changed; the library is for another machine, model or version; or
            the self-test failed.
        InputError: `native` is False, or others can write to the library.
    """
    if not native:
        raise InputError(f"{folder} holds a library, which is code, and native=False allows none: load {MODEL} in it")
    card = _card(folder)
    data = {name: _read(folder, name, card) for name in (MODEL, GOLDEN)}
    library = f"lib{card['name']}.so"
    if not (folder / library).is_file():
        raise FormatError(f"{folder}: {library} is missing: copy the folder again")
    label = f"{card['target']['name']} ({folder / library})"
    check_owner(folder / library)
    machine = load_library(folder / library, label, card["files"][library]["sha256"])
    model = Model(file.load(folder / MODEL), states, machine=machine, options=_options(folder, card["stream"]))
    if states is None and model.hash != card["model"]:
        raise FormatError(f"{folder}: the library is of model {card['model'][:16]}, {MODEL} is {model.hash[:16]}")
    if self_test and states is None:
        _self_test(folder, model, card, data[GOLDEN])
    return model


def _card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    if not path.is_file():
        raise FormatError(f"{folder}: a folder without {CARD}; expected one that `edgelstm build` wrote")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["format"] != VERSION:
            raise FormatError(f"{path}: format {card['format']!r}; this release reads {VERSION}")
        name = card["name"]
        complete = {f"lib{name}.so", GOLDEN, MODEL} <= set(card["files"])
        shaped = {"target", "stream", "golden", "model"} <= set(card) and name.isidentifier()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, EdgeLSTMError):
            raise
        raise FormatError(f"{path}: the card is damaged ({error}): copy the folder again") from None
    if not (complete and shaped):
        raise FormatError(f"{path}: the card is damaged: copy the folder again")
    return dict(card)


def _options(folder: Path, told: Mapping[str, Any]) -> StreamOptions:
    """How the model was built to be streamed."""
    try:
        return stream_options(StreamOptions(), told["sizes"], told["history"], told["window"], told["lookahead"])
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise FormatError(f"{folder / CARD}: the card is damaged ({error}): copy the folder again") from None


def _read(folder: Path, name: str, card: Mapping[str, Any]) -> bytes:
    path, told = folder / name, card["files"][name]
    if not path.is_file():
        raise FormatError(f"{folder}: {name} is missing: copy the folder again")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise FormatError(
            f"{path}: {len(data)} bytes that are not the {told['bytes']} that were built: copy the folder again"
        )
    return data


def _self_test(folder: Path, model: Model, card: Mapping[str, Any], data: bytes) -> None:
    """Stream the golden readings through the library."""
    told = card["stream"]
    _, programs = model._step(model._options)
    program = programs.program({})
    executor = programs.make(program)
    assert isinstance(executor, Machine)
    words, at = np.frombuffer(data, "<i4"), 0
    stride, first, exact = told["stride"], told["first"], card["golden"]["exact"]
    tolerance = card["golden"].get("tolerance", 0.0)
    for index in range(card["golden"]["steps"]):
        for port in program.inputs:
            executor.arenas.inputs[port.name].view(np.int32).reshape(-1)[:] = words[at : at + port.words]
            at += port.words
        status = executor.execute(True)
        due = index >= first and (index - first) % stride == 0
        for port in program.outputs if due else ():
            found = executor.arenas.outputs[port.name].reshape(-1)
            expected = words[at : at + port.words].view(port.word_dtype)
            at += port.words
            same = np.array_equal(found.view(np.int32), expected.view(np.int32))
            if status != OK or not (same or (not exact and np.allclose(found, expected, tolerance, tolerance))):
                raise FormatError(
                    f"{folder}: the self-test failed at golden reading {index}, output {port.name!r}: the library does "
                    "not compute here what it computed where it was built; do not use it"
                )
