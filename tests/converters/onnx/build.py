"""Small ONNX models for tests, and two ways to run one: through the Graph and through ONNX Runtime."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgelstm.graph.bind import bind
from edgelstm.graph.check import check
from edgelstm.program.reference import Reference
from edgelstm.runtime.inputs import solve_sizes
from tests.support import require_module

DTYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


def value(name, shape, dtype="float32"):
    """An input or output; strings in the shape are named dimensions."""
    return helper.make_tensor_value_info(name, DTYPES[dtype], shape)


def model(nodes, inputs, outputs, constants=None, opset=17):
    """A model.

    Args:
        nodes: of `onnx.helper.make_node`.
        inputs: name → shape, or (shape, dtype).
        outputs: names; their types are left open.
        constants: name → array.
        opset: version of the default operator set.
    """
    entries = [value(name, *(kind if isinstance(kind, tuple) else (kind,))) for name, kind in inputs.items()]
    graph = helper.make_graph(
        list(nodes),
        "test",
        entries,
        [onnx.ValueInfoProto(name=name, type=_open_type()) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="tests")
    made.ir_version = 8 if opset < 21 else 10
    return made


def _open_type():
    kind = onnx.TypeProto()
    kind.tensor_type.elem_type = TensorProto.FLOAT
    return kind


def typed(made):
    """The same model with the output types that onnx infers, which its checker and ONNX Runtime insist on."""
    for output in made.graph.output:
        output.ClearField("type")
    return onnx.shape_inference.infer_shapes(made)


def run_graph(graph, feeds):
    """Outputs of a Graph by the NumPy reference."""
    check(graph)
    arrays = {name: np.asarray(feeds[name]) for name in graph.inputs}
    return Reference(bind(graph, solve_sizes(graph.inputs, arrays, graph.frozen, graph.pinned))).call(arrays)


def run_onnxruntime(made, feeds):
    """Outputs by ONNX Runtime, on one thread."""
    ort = require_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    data = made if isinstance(made, (bytes, str)) else made.SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))
