"""One recurrent layer with the same random weights for every engine, and a call that makes one step of it.

Each maker gives a function without arguments: one step, state carried on, called as a user would.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import edgelstm

Call = Callable[[], object]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
PEERS = Path(__file__).parent / "peers"


def onnx_layer(cell: str, inputs: int, hidden: int, *, dynamic: bool = False) -> bytes:
    """A file with one recurrent node, state in and out; X is (1, 1, inputs), or (T, B, inputs) when dynamic."""
    rng = np.random.default_rng(hidden)
    scale = 1 / np.sqrt(hidden)
    rows = GATES[cell] * hidden
    shapes = {"W": (1, rows, inputs), "R": (1, rows, hidden), "B": (1, 2 * rows)}
    weights = [
        numpy_helper.from_array(rng.uniform(-scale, scale, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    length, batch = ("T", "B") if dynamic else (1, 1)
    state = helper.make_tensor_value_info("h", TensorProto.FLOAT, (1, batch, hidden))
    memory = [helper.make_tensor_value_info("c", TensorProto.FLOAT, (1, batch, hidden))] if cell == "LSTM" else []
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, (length, batch, inputs))
    attributes = {"hidden_size": hidden, **({"linear_before_reset": 1} if cell == "GRU" else {})}
    outputs = ["Y", "Y_h", "Y_c"][: 2 + len(memory)]
    node = helper.make_node(cell, ["X", "W", "R", "B", "", "h", *[m.name for m in memory]], outputs, **attributes)
    squeeze = helper.make_node("Squeeze", ["Y", "axes"], ["y"])
    weights.append(numpy_helper.from_array(np.array([1]), "axes"))
    shown = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (length, batch, hidden))]
    shown += [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, batch, hidden)) for name in outputs[1:]]
    graph = helper.make_graph([node, squeeze], "layer", [x, state, *memory], shown, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def reading(inputs: int) -> np.ndarray:
    """One reading, the same for every engine."""
    return np.random.default_rng(0).normal(size=inputs).astype(np.float32)


def ours(cell: str, inputs: int, hidden: int, *, allocate: bool = False) -> Call:
    """`stream.step`, with every default check on."""
    stream = layer_model(cell, inputs, hidden).stream()
    x, y, step = reading(inputs), np.empty(hidden, np.float32), stream.step
    if allocate:
        return lambda: step(x)
    return lambda: step(x, out=y)


def layer_model(cell: str, inputs: int, hidden: int) -> edgelstm.Model:
    """The layer as a model, from the file that the peers read."""
    from edgelstm_converters.onnx import load_onnx

    graph = load_onnx(onnx_layer(cell, inputs, hidden, dynamic=True)).graph
    return edgelstm.Model(graph)


def onnxruntime(cell: str, inputs: int, hidden: int) -> Call:
    """`session.run` with the states fed back, one thread, no spinning."""
    return onnxruntime_step(cell, inputs, hidden, onnx_layer(cell, inputs, hidden))


def onnxruntime_step(cell: str, inputs: int, hidden: int, file: bytes) -> Call:
    """The same on any file with these ports."""
    session = onnxruntime_session(file)
    feeds = {"X": reading(inputs).reshape(1, 1, inputs), "h": np.zeros((1, 1, hidden), np.float32)}
    names = ["y", "Y_h"]
    if cell == "LSTM":
        feeds["c"] = np.zeros((1, 1, hidden), np.float32)
        names.append("Y_c")

    def call() -> object:
        results = session.run(names, feeds)
        feeds["h"] = results[1]
        if len(results) > 2:
            feeds["c"] = results[2]
        return results

    return call


def onnxruntime_session(file: bytes):
    """A session with one thread that does not spin."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def litert(cell: str, inputs: int, hidden: int, kind: str = "f32") -> Call | None:
    """Set, invoke, get on LiteRT's cell model; None where there is no such model."""
    path = PEERS / f"lstm_cell_{inputs}_{hidden}_{kind}.tflite"
    if cell != "LSTM" or not path.exists():
        return None
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(str(path), num_threads=1)
    engine.allocate_tensors()
    slots = {tuple(d["shape"]): d["index"] for d in engine.get_input_details() if d["shape"][1] == inputs}
    states = [d["index"] for d in engine.get_input_details() if d["shape"][1] == hidden]
    results = [d["index"] for d in engine.get_output_details()]
    x, source = reading(inputs).reshape(1, inputs), slots[1, inputs]
    carried = [np.zeros((1, hidden), np.float32) for _ in states]

    def call() -> object:
        engine.set_tensor(source, x)
        for index, value in zip(states, carried, strict=True):
            engine.set_tensor(index, value)
        engine.invoke()
        carried[:] = [engine.get_tensor(index) for index in results]
        return carried

    return call
