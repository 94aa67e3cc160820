"""The folder that `edgelstm build` writes: everything that a device needs to run one model, and proofs that it does.

libNAME.so      interpreter and model; NAME.h and libNAME.a for C and C++; NAME.py for bare Python
model.edgelstm  the model, for the package edgelstm: `edgelstm.load(FOLDER)`
card.json       names, shapes, hashes, how it was built
golden.bin      readings and predictions; example.c streams them
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm.errors import InputError
from edgelstm.machine import slots
from edgelstm.machine.ahead import object_code
from edgelstm.machine.compiled import source_digest
from edgelstm.machine.targets import Target
from edgelstm.native import golden, link
from edgelstm.passes.stream import StreamOptions
from edgelstm.program.fallible import can_stop
from edgelstm.program.opcodes import SCRATCH, STATE, WEIGHTS
from edgelstm.program.program import Port, Program
from edgelstm.runtime.executors import make_executor
from edgelstm.runtime.folder import CARD, GOLDEN, MODEL, VERSION
from edgelstm.runtime.model import Model
from edgelstm.runtime.snapshot import pack
from edgelstm.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SLOTS = (
    *("SLOTS", "STATUSES", "CODE", "ROWS", "BASE", "ABSENT_BASE", "INPUT", "INPUT_WORDS", "OUTPUT", "OUTPUT_WORDS"),
    *("FLOATS", "FLOAT_COUNT", "CHECK", "INTERPRETER"),
)


def build(
    model: Model, target: Target, out: Path, *, name: str = "model", options: StreamOptions | None = None
) -> Path:
    """Write the folder of a model for a target.

    Args:
        model: what to build.
        target: see `machine.ahead.resolve`.
        out: the folder; made if it is not there.
        name: of the library, and in front of every function of the C header.
        options: how the model is streamed.

    Returns:
        `out`.

    Raises:
        InputError: the name will not do, the folder holds another model, or outputs come at different readings.
        StreamError: the model cannot be streamed.
        DependencyError: numba or ziglang is not installed.
        EdgeLSTMError: a compiler refused.
        OSError: the folder cannot be written to.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"--name: expected a C name of small letters, digits and _, got {name!r}")
    if (out / CARD).exists() and not (out / f"{name}.h").exists():
        raise InputError(f"{out} holds another model: give each a folder of its own")
    step, programs = model._step(options or StreamOptions())
    program = programs.program({})
    vectors = golden.make(program, make_executor(program), step)
    rhythm = golden.rhythm(program, step)
    stamp, states = _stamp(model.hash, program)
    tolerance = 0.0 if target.fused else golden.inexact(program, step)
    texts = _texts(model, target, name, program, rhythm, stamp, states, tolerance)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgelstm-") as place:
        work = Path(place)
        parts = {
            "weights.bin": program.weights.astype("<f4").tobytes(),
            "code.bin": program.code.astype("<i8").tobytes(),
            "state.bin": program.initial_state.astype("<f4").tobytes(),
            "stamp.bin": stamp,
        }
        for part, data in parts.items():
            (work / part).write_bytes(data)
        (work / f"{name}.h").write_text(texts["model.h"])
        (work / "model.c").write_text(texts["model.c"])
        machine, own = work / "machine.o", work / "model.o"
        link.compile_c(work / "model.c", target, own)  # first: it soon refuses a processor that does not exist
        machine.write_bytes(object_code(target))
        link.shared_library([own, machine], target, name, out / f"lib{name}.so")
        link.static_library([own, machine], out / f"lib{name}.a")
    (out / f"{name}.h").write_text(texts["model.h"])
    (out / "example.c").write_text(texts["example.c"])
    (out / f"{name}.py").write_text(texts["loader.py.in"])
    (out / GOLDEN).write_bytes(vectors.data)
    model.save(out / MODEL)
    files = (f"lib{name}.so", f"lib{name}.a", f"{name}.h", "example.c", f"{name}.py", GOLDEN, MODEL)
    card = _card(model, target, name, program, rhythm, options or StreamOptions())
    card["golden"] = {"steps": vectors.steps, "exact": target.fused, "tolerance": tolerance}
    card["files"] = {file: _fingerprint(out / file) for file in files}
    (out / CARD).write_text(json.dumps(card, indent=1) + "\n")
    for file in (*files, CARD):
        (out / file).chmod(0o755 if file.endswith(".so") else 0o644)
    return out


def _fingerprint(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _stamp(model_hash: str, program: Program) -> tuple[bytes, list[Port]]:
    """What stands in front of the words of every snapshot, and the order of the states after it."""
    zeros = {port.name: np.zeros(port.shape, port.word_dtype) for port in program.states}
    blob = pack(model_hash, zeros)
    end = 8 + struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:end])
    order = sorted(program.states, key=lambda port: header[port.name]["data_offsets"])
    return blob[:end], order


def _ports(ports: Sequence[Port]) -> str:
    return "".join(f"{{{port.operand % 4}, {port.start}, {port.words}}}, " for port in ports)


def _texts(
    model: Model,
    target: Target,
    name: str,
    program: Program,
    rhythm: tuple[int, int],
    stamp: bytes,
    states: Sequence[Port],
    tolerance: float,
) -> dict[str, str]:
    """The templates with everything filled in."""
    inputs, outputs = program.inputs, program.outputs
    plain = len(inputs) == len(outputs) == 1 and inputs[0].dtype == outputs[0].dtype == "float32"
    stops = can_stop(program)
    tick = next((port for port in states if port.name == program.graph.tick), None)
    state_words, scratch_words = max(program.state_words, 1), program.scratch_words
    before = state_words if stops else 1
    struct_bytes = 8 * (slots.SLOTS + 2 * len(inputs) + 2) + 4 * (state_words + scratch_words + before) + 3 * 64
    cross = f"python -m ziglang cc {link.static_flags(target)} -O2 example.c lib{name}.a -o example"
    fills: dict[str, object] = {
        "TITLE": f"{name}: a model that streams.",
        "NAME": name,
        "GUARD": name.upper(),
        "VERSION": __version__,
        "TARGET": target.name,
        "USES": target.uses,
        "HASH": model.hash,
        "X_WORDS": sum(port.words for port in inputs),
        "Y_WORDS": sum(port.words for port in outputs),
        "INPUTS": _described(inputs),
        "OUTPUTS": _described(outputs),
        "MEMORY": -(-struct_bytes // 64) * 64,
        "SNAPSHOT": len(stamp) + 4 * sum(port.words for port in states),
        "STRIDE": rhythm[0],
        "FIRST": rhythm[1],
        "TICK": f"*(const uint32_t *)(stream->state + {tick.start})" if tick else "0",
        "INPUT_PORTS": _ports(inputs),
        "OUTPUT_PORTS": _ports(outputs),
        "STATE_PORTS": _ports(states),
        "FLOAT_PORTS": _ports([port for port in inputs if port.dtype == "float32"]),
        "STATE_WORDS": state_words,
        "SCRATCH_WORDS": scratch_words,
        "BEFORE_WORDS": before,
        "STOPS": int(stops),
        "SIMPLE": int(plain and not stops and not program.graph.tick),
        "ROW_COUNT": len(program.code),
        "STEPS": golden.STEPS,
        "EXACT": int(target.fused),
        "TOLERANCE": f"{tolerance:.3e}f",
        "CROSS": cross,
        **{slot: getattr(slots, slot) for slot in _SLOTS},
    }
    assert (WEIGHTS, STATE, SCRATCH) == (0, 1, 2)
    return {file.name: _fill(file.read_text(), fills) for file in sorted(TEMPLATES.iterdir()) if file.is_file()}


def _fill(text: str, fills: Mapping[str, object]) -> str:
    return re.sub(r"@([A-Z0-9_]+)@", lambda found: str(fills[found[1]]), text)


def _described(ports: Sequence[Port]) -> str:
    return "\n".join(f" *     {_plain(port.name)}: {port.dtype} {list(port.shape)}" for port in ports)


def _plain(text: str) -> str:
    """A name that cannot end a comment."""
    return re.sub(r"[^\w./:\[\]-]", "_", text)


def _card(
    model: Model,
    target: Target,
    name: str,
    program: Program,
    rhythm: tuple[int, int],
    options: StreamOptions,
) -> dict[str, Any]:
    def listed(ports: Sequence[Port]) -> list[dict[str, Any]]:
        return [{"name": port.name, "dtype": port.dtype, "shape": list(port.shape)} for port in ports]

    return {
        "format": VERSION,
        "edgelstm": __version__,
        "sources": source_digest(),
        "name": name,
        "model": model.hash,
        "metadata": dict(model.metadata),
        "target": {
            "name": target.name,
            "triple": target.triple,
            "cpu": target.cpu,
            "features": target.features,
            "uses": target.uses,
            "architecture": target.architecture,
            "bits": target.bits,
        },
        "stream": {
            "sizes": dict(options.sizes),
            "history": options.history,
            "window": options.window,
            "lookahead": options.lookahead,
            "stride": rhythm[0],
            "first": rhythm[1],
        },
        "inputs": listed(program.inputs),
        "outputs": listed(program.outputs),
        "states": listed(program.states),
        "x_words": sum(port.words for port in program.inputs),
        "y_words": sum(port.words for port in program.outputs),
    }
