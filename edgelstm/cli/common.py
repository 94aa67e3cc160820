"""What several commands share: naming a model on the command line, and facts about the machine."""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.errors import InputError

if TYPE_CHECKING:
    from edgelstm.runtime.model import Model
    from edgelstm.runtime.stream import Stream

PACKAGES = ("numpy", "safetensors", "numba", "llvmlite", "onnx", "onnxruntime", "torch")


def add_model(parser: argparse.ArgumentParser, what: str = "the model", *, optional: bool = False) -> None:
    """The arguments that name a model."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        nargs="?" if optional else None,
        help=f"{what}: .edgelstm, .onnx, .pt, .pth, .safetensors, .keras, .h5, or a folder of `edgelstm build`",
    )
    parser.add_argument(
        "--states",
        metavar="IN=OUT",
        action="append",
        default=[],
        help="an input that carries the state which an output gives, where the model does not show it; repeatable",
    )
    parser.add_argument(
        "--constant",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an input of an ONNX file that never changes, and is no input then, as in sr=16000; repeatable",
    )
    parser.add_argument(
        "--layers", metavar="FILE", type=Path, help="a list that tells the layers of a state dict (docs/cli.md)"
    )
    parser.add_argument(
        "--size",
        metavar="NAME=N",
        action="append",
        default=[],
        help="the size of a free dimension other than time and batch, which `inspect` shows; repeatable",
    )


def add_stream(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how a model is streamed."""
    for name, help_text in (
        ("--history", "how many steps attention looks back on (default: 256, or as the folder was built)"),
        ("--window", "run the whole model over the last N readings at every step"),
        ("--lookahead", "let outputs wait for N later readings"),
    ):
        parser.add_argument(name, metavar="N", type=int, help=help_text)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """How many threads may share a step."""
    parser.add_argument(
        "--threads",
        metavar="N",
        type=int,
        default=1,
        help="threads that may share a step; they do where a layer is so large that it is quicker (default: 1)",
    )


def load_stream(model: Model, options: argparse.Namespace, **more: Any) -> Stream:
    """A stream as `add_stream`'s arguments say.

    Raises:
        EdgeLSTMError: see `Model.stream`.
    """
    told = {name: getattr(options, name) for name in ("history", "window", "lookahead")}
    return model.stream(sizes=read_sizes(options), **told, **more)


def load_model(options: argparse.Namespace) -> Model:
    """The model that `add_model`'s arguments name.

    Raises:
        EdgeLSTMError: see `edgelstm.load`.
        OSError: a file cannot be read.
    """
    import edgelstm

    return edgelstm.load(
        options.model, states=read_states(options), layers=read_layers(options), constants=read_constants(options)
    )


def read_states(options: argparse.Namespace) -> dict[str, str] | None:
    """The pairs of `--states`; None if there are none.

    Raises:
        InputError: a pair has no "=".
    """
    pairs = {}
    for text in options.states:
        name, equals, output = text.partition("=")
        if not (name and equals and output):
            raise InputError(f"--states: expected INPUT=OUTPUT, as in h0=hn; got {text!r}")
        pairs[name] = output
    return pairs or None


def read_constants(options: argparse.Namespace) -> dict[str, Any] | None:
    """The values of `--constant`, by input; None if there are none.

    Raises:
        InputError: see `parse_constants`.
    """
    from edgelstm.runtime.load import parse_constants

    return parse_constants(options.constant)


def read_sizes(options: argparse.Namespace) -> dict[str, int]:
    """The sizes of `--size`, by name.

    Raises:
        InputError: one is not NAME=N with an integer from 1 on.
    """
    sizes = {}
    for text in options.size:
        name, _, size = text.partition("=")
        if not (name and size.isdecimal() and int(size)):
            raise InputError(f"--size: expected NAME=N, as in src=7; got {text!r}")
        sizes[name] = int(size)
    return sizes


def read_layers(options: argparse.Namespace) -> list[dict[str, Any]] | None:
    """The list in the file of `--layers`; None if there is none.

    It may be JSON, or a list as a refusal prints it: Python literals with comments, "layers=" in front.

    Raises:
        InputError: the file is no such list.
        OSError: it cannot be read.
    """
    if options.layers is None:
        return None
    try:
        layers = _parse_list(options.layers.read_text(encoding="utf-8"))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(f"{options.layers}: expected a list of layers, as JSON or Python literals ({error})") from None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise InputError(f"{options.layers}: expected a list with one object a layer, got {str(layers)[:60]}")
    return layers


def _parse_list(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text.strip().removeprefix("layers="))


def machine() -> dict[str, Any]:
    """What a measurement depends on: processor, its governor, system, versions."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_version()} ({8 * _pointer_bytes()}-bit)",
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
    }


def machine_text(facts: dict[str, Any]) -> str:
    """`machine()` as one line."""
    packages = ", ".join(f"{name} {text}" for name, text in facts["packages"].items())
    return (
        f"{facts['processor']}, {facts['cores']} cores, governor {facts['governor']}; "
        f"{facts['system']}; Python {facts['python']}; {packages}"
    )


def processor() -> str:
    """The processor's name."""
    names = {"model name", "Model", "Hardware", "cpu model"}  # x86, Raspberry Pi, other ARM, MIPS
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names:
            return value.strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """What the kernel says the processor can do, in its spelling; empty where it does not say."""
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def installed(package: str) -> str:
    """The version of an installed package, "" if it is not installed. Imports nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def print_rows(rows: list[tuple[str, str]]) -> None:
    """Names and texts in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:{width}}  {text}")


def print_json(content: Any) -> None:
    """One JSON document, in UTF-8 whatever the locale."""
    print(json.dumps(content, indent=2))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _pointer_bytes() -> int:
    return (sys.maxsize.bit_length() + 1) // 8
