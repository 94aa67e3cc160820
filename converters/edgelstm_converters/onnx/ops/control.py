"""If with a condition that is known, and operators that pass a value through."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto

from edgelstm_converters.onnx.folding_sizes import decide
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.reader import tensor_array
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Flow, Known, Undecided, Value, known


@handles("If")
def if_(node: OnnxNode) -> Result:
    """Only the branch that is taken is translated."""
    then, other = node.attrs.graph("then_branch"), node.attrs.graph("else_branch")
    condition = node.input(0)
    if not isinstance(condition, Known) or condition.array.size != 1:
        raise node.refuse("its condition is computed from data at run time; a Graph has no branches")
    entry = condition.array.reshape(-1)[0]
    if isinstance(entry, Undecided):
        taken = decide(entry, node.symbols)
        if taken is None:
            return _branch_of_some_sizes(node, entry, then, other)
    else:
        taken = bool(entry)
    node.assume("condition", f"always {str(taken).lower()}: the other branch is left out")
    return list(node.inner(then if taken else other))


def _branch_of_some_sizes(node: OnnxNode, condition: Undecided, then: GraphProto, other: GraphProto) -> list[Value]:
    """One branch, its outputs marked as right only where the condition's sizes are equal."""
    refusal = node.refuse(
        f"its condition ({condition}) depends on the size of an input; export the model with that size fixed"
    )
    if condition.relation != "equal":
        raise refusal
    taken = node.choose(condition, refusal)
    results = node.inner(then if taken else other)
    if taken == condition.negated:
        return results
    if not all(isinstance(result, Flow) for result in results):
        raise refusal
    return [node.expect(result, condition.left, condition.right) for result in results]


@handles("Constant")
def constant(node: OnnxNode) -> Result:
    """A tensor, a number or a list of numbers."""
    name = node.proto.output[0]
    if "value" in node.attrs:
        return known(tensor_array(node.attrs.tensor("value"), node.where), name)
    if "value_float" in node.attrs:
        return known(np.float32(node.attrs.number("value_float")), name)
    if "value_int" in node.attrs:
        return known(np.int64(node.attrs.integer("value_int")), name)
    if "value_floats" in node.attrs:
        return known(np.asarray(node.attrs.numbers("value_floats"), np.float32), name)
    if "value_ints" in node.attrs:
        return known(np.asarray(node.attrs.integers("value_ints"), np.int64), name)
    raise node.refuse("sparse and text constants are not supported")


@handles("Identity")
def identity(node: OnnxNode) -> Result:
    """The same value."""
    return node.input(0)


@handles("Dropout")
def dropout(node: OnnxNode) -> Result:
    """The same value: nothing is dropped outside training."""
    node.attrs.ignore("ratio", "nothing is dropped outside training")
    node.attrs.ignore("seed", "nothing is dropped outside training")
    node.attrs.ignore("is_test", "nothing is dropped outside training")
    training = node.constant(2, "training_mode")
    if training is not None and bool(training.reshape(-1)[0]):
        raise node.refuse("training_mode is true; export the model for inference (model.eval() in PyTorch)")
    x = node.input(0)
    kept = known(np.ones((1,) * node.rank(x), np.bool_))
    return [x, Known(kept.array, kept.dtype, node.shape(x))] if node.opset >= 10 else x
