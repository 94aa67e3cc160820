"""Compares a model's outputs with another runtime's or another model's, on the same inputs.

Prints the largest and the root-mean-square difference of each output, and how the largest grows from step to step.
Exit code 1 if any output differs by more than the tolerance, in any value, or in shape.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli.common import add_model, load_model, print_json, read_constants, read_sizes
from edgelstm.errors import DependencyError, InputError

if TYPE_CHECKING:
    from edgelstm.runtime.model import Model
    from edgelstm.runtime.stream import Stream

PEER = "onnxruntime"
SHOWN_STEPS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm compare`."""
    add_model(parser)
    parser.add_argument(
        "--against",
        metavar="onnxruntime|OTHER",
        required=True,
        help="onnxruntime, which runs MODEL's own .onnx file, or another model with the same inputs and outputs",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, help="largest difference allowed (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=32, help="length where the model leaves it free (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=int, default=2, help="batch where the model leaves it free (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (default: %(default)s)")
    parser.add_argument("--inputs", metavar="FILE", type=Path, help="an .npz with the inputs by name, not random ones")
    parser.add_argument(
        "--stream", action="store_true", help="feed --steps random readings to both as streams, up to a million or more"
    )
    parser.add_argument("--chart", metavar="FILE", type=Path, help="with --stream: draw the difference by step (SVG)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    if not options.tolerance >= 0:
        raise InputError(f"--tolerance: expected a number from 0 on, got {options.tolerance}")
    for name, value in (("--steps", options.steps), ("--batch", options.batch)):
        if value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    model = load_model(options)
    if options.stream:
        return _along_a_stream(model, options)
    if options.chart:
        raise InputError("--chart: needs --stream, which tells the difference by step")
    feeds = _read_inputs(options.inputs) if options.inputs else random_inputs(model, options)
    other = _peer(options.model, read_constants(options) or {}) if options.against == PEER else _other(options)
    ours, theirs = model.run(feeds), other(feeds)
    if set(ours) != set(theirs):
        raise InputError(f"the outputs differ: {', '.join(ours)} here, {', '.join(theirs)} there")
    outputs = [_difference(name, ours[name], theirs[name], _time_axis(model, name)) for name in ours]
    same = all(output["same_shape"] and output["max"] <= options.tolerance for output in outputs)
    facts = {"against": options.against, "tolerance": options.tolerance, "within": same, "outputs": outputs}
    if options.json:
        print_json(facts)
    else:
        _print(facts)
    return 0 if same else 1


def _along_a_stream(model: Model, options: argparse.Namespace) -> int:
    """The difference by step of two models as streams."""
    from dataclasses import asdict

    from edgelstm.cli.drift import as_svg, as_text, measure

    if options.against == PEER:
        raise InputError("--stream: expected --against OTHER, a model file; onnxruntime has no streams")
    sizes = read_sizes(options)
    other = _other_model(options)
    drifts = measure(_stream(model, other, sizes), _stream(other, model, sizes), options.steps, options.seed)
    same = all(value <= options.tolerance for drift in drifts for value in drift.max)
    if options.chart:
        title = f"{options.model.name} against {Path(options.against).name}"
        options.chart.write_text(as_svg(drifts, title), encoding="utf-8")
    if options.json:
        facts = {"against": options.against, "tolerance": options.tolerance, "within": same}
        print_json({**facts, "steps": options.steps, "outputs": [asdict(drift) for drift in drifts]})
    else:
        for drift in drifts:
            print(as_text(drift))
        print(f"{'within' if same else 'past'} the tolerance of {options.tolerance:g} against {options.against}")
    return 0 if same else 1


def _stream(model: Model, other: Model, sizes: Mapping[str, int]) -> Stream:
    """A stream of the first model, without the sizes that only the other has a use for."""
    from edgelstm.graph.bind import free_symbols

    not_here = {*free_symbols(other.graph)} - {*free_symbols(model.graph)}
    return model.stream(sizes={name: size for name, size in sizes.items() if name not in not_here})


def random_inputs(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Inputs of the sizes that the options and the model tell; floats are normal, states smaller, integers small."""
    import numpy as np

    from edgelstm.graph.dims import BATCH, TIME, substitute, symbols

    rng = np.random.default_rng(options.seed)
    sizes = {TIME: options.steps, BATCH: options.batch} | read_sizes(options) | dict(model.graph.frozen)
    states = {state.name for state in model.states}
    roles = _integer_roles(model)
    feeds: dict[str, Any] = {}
    for name, kind in model.inputs.items():
        free = {symbol for dim in kind.shape for symbol in symbols(dim)} - set(sizes)
        if free:
            raise InputError(f"input {name!r}: the size of {', '.join(sorted(free))} is not known; give it with --size")
        shape = tuple(int(str(substitute(dim, sizes))) for dim in kind.shape)
        if kind.dtype == "float32":
            feeds[name] = rng.standard_normal(shape, np.float32) * np.float32(0.1 if name in states else 1)
        elif kind.dtype == "bool":
            feeds[name] = rng.integers(2, size=shape).astype(bool)
        elif roles.get(name) == "lengths":
            feeds[name] = np.full(shape, sizes[TIME], kind.dtype)
        else:
            feeds[name] = rng.integers(int(roles.get(name, "2")), size=shape).astype(kind.dtype)
    return feeds


def _integer_roles(model: Model) -> dict[str, str]:
    """Input name → "lengths", or how many rows the table has that it selects from."""
    from edgelstm.graph.ops import infer_all

    types = infer_all(model.graph)
    origin = {name: name for name in model.inputs}
    roles: dict[str, str] = {}
    for node in model.graph.nodes:
        source = origin.get(node.inputs[0]) if node.inputs else None
        if source and node.op in {"cast", "reshape", "transpose", "identity"}:
            origin[node.outputs[0]] = source
        if node.op == "gather" and node.inputs[1] in origin:
            axis = node.attrs["axis"]
            assert isinstance(axis, int)
            roles[origin[node.inputs[1]]] = str(types[node.inputs[0]].shape[axis])
        place = {"lstm": 4, "gru": 4, "rnn": 4, "reverse_sequence": 1}.get(node.op, 0)
        if place and len(node.inputs) > place and node.inputs[place] in origin:
            roles[origin[node.inputs[place]]] = "lengths"
    return roles


def _read_inputs(path: Path) -> dict[str, Any]:
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected an .npz file of arrays ({error})") from None


def _peer(path: Path, constants: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    if path.suffix.lower() != ".onnx":
        raise InputError(f"--against onnxruntime: expected MODEL to be an .onnx file, got {path.name}")
    try:
        import numpy as np
        import onnxruntime
    except ImportError:
        raise DependencyError("onnxruntime is not installed; install edgelstm[compare]") from None
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (its exceptions have no common base)
        raise InputError(f"ONNX Runtime does not load {path}: {_first_line(error)}") from None
    names = [output.name for output in session.get_outputs()]
    kinds = {"float": "float32", "double": "float64", "float16": "float16"}
    told = {}
    for entry in session.get_inputs():
        if entry.name in constants:
            kind = entry.type.removeprefix("tensor(").removesuffix(")")
            told[entry.name] = np.asarray(constants[entry.name], kinds.get(kind, kind))

    def run(feeds: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return dict(zip(names, session.run(names, {**feeds, **told}), strict=True))
        except Exception as error:  # noqa: BLE001 (as above)
            raise InputError(f"ONNX Runtime does not run {path}: {_first_line(error)}") from None

    return run


def _other(options: argparse.Namespace) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return _other_model(options).run


def _other_model(options: argparse.Namespace) -> Model:
    path = Path(options.against)
    if not path.exists():
        raise InputError(f"--against {path}: expected onnxruntime or a model file; there is no such file")
    named = argparse.Namespace(**{**vars(options), "model": path})
    if path.suffix.lower() != ".onnx":
        named.constant = []
    if path.suffix.lower() not in {".pt", ".pth", ".safetensors"}:
        named.layers = None
    return load_model(named)


def _time_axis(model: Model, output: str) -> int | None:
    from edgelstm.graph.dims import TIME, symbol

    shape = model.outputs[output].shape
    return shape.index(symbol(TIME)) if symbol(TIME) in shape else None


def _difference(name: str, ours: Any, theirs: Any, time: int | None) -> dict[str, Any]:
    import numpy as np

    if ours.shape != theirs.shape:
        return {"name": name, "same_shape": False, "shapes": [list(ours.shape), list(theirs.shape)]}
    left, right = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        # NaN agrees with NaN and an infinity with itself; anything else that is not finite is infinitely far off.
        equal = (left == right) | (np.isnan(left) & np.isnan(right))
        far = np.where(equal, 0.0, np.abs(left - right))
    far = np.where(np.isnan(far), np.inf, far)
    by_step = [] if time is None or not far.size else np.moveaxis(far, time, 0).reshape(far.shape[time], -1).max(axis=1)
    return {
        "name": name,
        "same_shape": True,
        "max": float(far.max()) if far.size else 0.0,
        "rms": float(np.sqrt(np.mean(far**2))) if far.size else 0.0,
        "max_by_step": [float(value) for value in by_step],
    }


def _print(facts: dict[str, Any]) -> None:
    for output in facts["outputs"]:
        if not output["same_shape"]:
            print(f"{output['name']}: shapes differ, {output['shapes'][0]} here, {output['shapes'][1]} there")
            continue
        print(f"{output['name']}: max {output['max']:.3g}, rms {output['rms']:.3g}")
        steps = output["max_by_step"]
        count = len(steps)
        shown = (
            sorted({round(index * (count - 1) / (SHOWN_STEPS - 1)) for index in range(SHOWN_STEPS)})
            if count > 1
            else []
        )
        if shown:
            print("  max by step: " + ", ".join(f"{step}: {steps[step]:.3g}" for step in shown))
    verdict = "within" if facts["within"] else "past"
    print(f"{verdict} the tolerance of {facts['tolerance']:g} against {facts['against']}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
