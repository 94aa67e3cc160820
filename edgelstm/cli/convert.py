"""Converts a model to one .edgelstm file.

Lists what became of every attribute: mapped as the file says, assumed where the file is silent, refused where it is
not honoured (then nothing is written); and warns of faults that exporters are known for, or repairs them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli.common import add_model, load_model, read_constants, read_layers, read_states
from edgelstm.errors import InputError

if TYPE_CHECKING:
    from edgelstm.runtime.model import Model


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm convert`."""
    add_model(parser)
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="the file to write; MODEL.edgelstm if not given")
    parser.add_argument(
        "--scaling",
        metavar="FILE",
        type=Path,
        help="JSON with means and scales of inputs and outputs, names and units, which become part of the model "
        "(docs/heads.md)",
    )
    parser.add_argument("--repair", action="store_true", help="put exporters' known faults right")
    parser.add_argument("--quiet", action="store_true", help="do not list the attributes")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    out = options.out or options.model.with_suffix(".edgelstm")
    if out.suffix != ".edgelstm":
        raise InputError(f"--out: expected a name that ends in .edgelstm, got {out.name!r}")
    if out.exists() and options.model.exists() and out.samefile(options.model):
        raise InputError(f"{out}: is the model itself; give another name with -o")
    report: list[Any] = []
    try:
        model = read(options, report)
    finally:
        if not options.quiet:
            for entry in report:
                print(entry)
    if options.scaling is not None:
        model = scale(model, options.scaling)
    model.save(out)
    print(f"wrote {out} ({out.stat().st_size} bytes)")
    return 0


def scale(model: Model, path: Path) -> Model:
    """The model with the scaling of a file: the arguments of `edgelstm.with_scaling`, as one JSON object.

    Raises:
        InputError: the file is not such an object, or does not fit the model.
        OSError: it cannot be read.
    """
    from edgelstm.runtime.scaling import with_scaling

    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: expected JSON ({error})") from None
    wanted = {"inputs": dict, "outputs": dict, "features": (list, dict), "units": (list, dict), "fold": bool}
    if not isinstance(told, dict) or not told or not set(told) <= set(wanted):
        found = ", ".join(told) if isinstance(told, dict) else type(told).__name__
        raise InputError(f"{path}: expected an object with some of {', '.join(wanted)}; got {found or 'nothing'}")
    for key, value in told.items():
        if not isinstance(value, wanted[key]):  # type: ignore[arg-type]
            raise InputError(f"{path}: {key}: expected {_kinds(wanted[key])}, got {json.dumps(value)[:60]}")
    try:
        return with_scaling(model, **told)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _kinds(wanted: Any) -> str:
    names = {dict: "an object by name", list: "a list", bool: "true or false"}
    return " or ".join(names[kind] for kind in (wanted if isinstance(wanted, tuple) else (wanted,)))


def read(options: argparse.Namespace, report: list[Any]) -> Model:
    """The model. What its converter has to say goes to `report`, in case of a refusal too."""
    from edgelstm.runtime.load import KERAS, ONNX, STATE_DICTS
    from edgelstm.runtime.model import Model

    suffix, states, layers = options.model.suffix.lower(), read_states(options), read_layers(options)
    constants = read_constants(options)
    if suffix in ONNX and layers is None:
        from edgelstm_converters.onnx import Report, load_onnx

        graph = load_onnx(options.model, constants=constants, repair=options.repair, report=Report(report)).graph
        return Model(graph, states)
    if options.repair:
        raise InputError(f"--repair puts faults of ONNX files right, not of a {suffix or 'nameless'} file")
    if constants is not None:
        raise InputError(f"--constant fixes inputs of ONNX files, not of a {suffix or 'nameless'} file")
    if suffix in STATE_DICTS:
        from edgelstm_converters.torch import load_state_dict

        weights = load_state_dict(options.model, layers)
        report.extend(weights.report)
        return Model(weights.graph, states)
    if suffix in KERAS:
        from edgelstm_converters.keras import load_keras

        translated = load_keras(options.model, layers)
        report.extend(translated.report)
        return Model(translated.graph, states)
    return load_model(options)
