"""Models and folders for the tests of native libraries; the compiled machine is kept between runs, the same for all."""

import subprocess
import sys
from functools import cache
from math import inf
from pathlib import Path

import numpy as np

from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.machine.targets import find
from edgelstm.native.build import build
from edgelstm.passes.stream import StreamOptions
from edgelstm.runtime.load import from_arrays, load
from edgelstm.runtime.model import Model
from tests.support import require_module, require_program

ROOT = Path(__file__).resolve().parent.parent.parent
FEATURES = 5
KINDS = ("lstm", "gru", "int8", "silero")
SIZES = {"silero": {"input_1": 576}}  # of free dimensions: a chunk of sound and the end of the one before


def torch_weights(cell, layers, hidden=20, seed=0):
    gates = {"lstm": 4, "gru": 3}[cell]
    rng = np.random.default_rng(seed)
    shapes = {}
    for layer in range(layers):
        width = hidden if layer else FEATURES
        shapes |= {
            f"cell.weight_ih_l{layer}": (gates * hidden, width),
            f"cell.weight_hh_l{layer}": (gates * hidden, hidden),
            f"cell.bias_ih_l{layer}": (gates * hidden,),
            f"cell.bias_hh_l{layer}": (gates * hidden,),
        }
    shapes |= {"head.weight": (3, hidden), "head.bias": (3,)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def bands(rows=9, hidden=20):
    """Cells whose batch is an axis of every reading, such as bands of frequency: rows that go together."""
    rng = np.random.default_rng(5)
    nodes, constants, width, x = [], {}, FEATURES, "x"
    for op, gates in (("lstm", 4), ("gru", 3), ("rnn", 1)):
        shapes = {"w": (1, gates * hidden, width), "r": (1, gates * hidden, hidden), "b": (1, 2 * gates * hidden)}
        constants |= {f"{op}.{name}": rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
        attrs = {"linear_before_reset": 1} if op == "gru" else {}
        activations = ("sigmoid", "tanh", "tanh")[{"lstm": slice(3), "gru": slice(2), "rnn": slice(1, 2)}[op]]
        attrs |= {"activations": activations, "hidden_size": hidden, "direction": "forward"}
        attrs |= {name: (0.0,) * len(activations) for name in ("activation_alpha", "activation_beta")}
        node = make_node(op, [x, *(f"{op}.{name}" for name in shapes)], [f"{op}.y"], **attrs)
        flat = make_node("reshape", [f"{op}.y"], [f"{op}.x"], shape=(symbol("T"), rows, hidden))
        nodes, width, x = [*nodes, node, flat], hidden, f"{op}.x"
    constants["head"] = rng.normal(0, 0.3, (3, hidden)).astype(np.float32)
    nodes.append(make_node("linear", [x, "head"], ["y"]))
    inputs = {"x": TensorType("float32", (symbol("T"), rows, FEATURES))}
    return Graph(inputs, {"y": "y"}, tuple(nodes), constants)


@cache
def model(kind):
    if kind == "lstm":
        return from_arrays(torch_weights("lstm", 1))
    if kind == "gru":
        return from_arrays(torch_weights("gru", 1))
    if kind == "bands":
        return Model(bands())
    if kind == "silero":
        require_module("onnx")
        return load(ROOT / "tests/models/silero_vad/silero_vad.onnx", constants={"sr": 16000})
    from edgelstm.quantization.quantize import quantize

    return quantize(from_arrays(torch_weights("lstm", 2)), objective="size", tolerance=inf)


def built(kind, target, out):
    """The folder of a model; compiles the machine for the target unless an earlier test run has."""
    require_module("ziglang")
    require_module("numba")
    options = StreamOptions(tuple(SIZES.get(kind, {}).items()))
    return build(model(kind), find(target), out / f"{kind}-{target}", name="model", options=options)


def stream(model, kind):
    return model.stream(sizes=SIZES.get(kind))


def readings(count, seed=1, kind="lstm"):
    width = FEATURES if kind != "silero" else SIZES[kind]["input_1"]
    return np.random.default_rng(seed).normal(0, 1, (count, width)).astype(np.float32)


def run(*command, **more):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)


BLOCK = """import sys
class Block:
    def find_spec(self, name, *rest):
        if name.partition('.')[0] in ('numba', 'llvmlite'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
"""


def without_numba(script, *arguments):
    """Run Python where neither numba nor llvmlite can be imported."""
    done = run(sys.executable, "-c", BLOCK + script, *arguments, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled_example(folder, compiler="gcc", *flags):
    program = folder / f"example-{compiler}"
    done = run(
        require_program(compiler),
        "-O2",
        "-Wall",
        "-Werror",
        *flags,
        "example.c",
        "libmodel.a",
        "-o",
        program,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return program
