"""MaxPool and AveragePool in one or two dimensions, and their global forms."""

from __future__ import annotations

from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.ops.conv import window
from edgelstm_converters.onnx.registry import Result, handles


@handles("MaxPool", "AveragePool")
def pool(node: OnnxNode) -> Result:
    """Largest or mean entry of each window; padding never wins, and counts only where count_include_pad says so."""
    x = node.input(0)
    if node.rank(x) not in (3, 4):
        raise node.refuse(f"expected 3 or 4 axes (1-D or 2-D pooling), got {x.type}")
    kernel = node.attrs.integers("kernel_shape")
    attrs = window(node, kernel, node.shape(x)[2:])
    ceil = node.attrs.integer("ceil_mode", 0)
    if node.op_type == "MaxPool":
        node.attrs.ignore("storage_order", "it concerns the output Indices")
        return node.emit("max_pool", x, kernel=kernel, **(_reaching(node, kernel, attrs) if ceil else attrs))
    padded = node.attrs.integer("count_include_pad", 0)
    reaching = _reaching(node, kernel, attrs) if ceil else attrs
    if padded and reaching != attrs:
        raise node.refuse("ceil_mode=1 with count_include_pad=1: windows that reach past the padding are not supported")
    return node.emit("avg_pool", x, kernel=kernel, count_include_pad=padded, **reaching)


def _reaching(node: OnnxNode, kernel: tuple[int, ...], attrs: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """More padding at the end, so that the last window begins inside the padded input and reaches past it."""
    rank, pads = len(kernel), list(attrs["pads"])
    for axis, length in enumerate(node.shape(node.input(0))[2:]):
        stride, span = attrs["strides"][axis], attrs["dilations"][axis] * (kernel[axis] - 1) + 1
        if stride == 1:
            continue
        size = length if isinstance(length, int) else node.symbols.pin(length, "ceil_mode=1 with a stride")
        if size is None:
            raise node.refuse("ceil_mode=1 with a stride reaches further for some lengths; export with ceil_mode=0")
        room = size + pads[axis] + pads[axis + rank] - span
        count = -(-room // stride) + 1
        if (count - 1) * stride >= size + pads[axis]:
            count -= 1  # a window must begin within the input or the padding before it
        pads[axis + rank] += max((count - 1) * stride - room, 0)
    return {**attrs, "pads": tuple(pads)}


@handles("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: OnnxNode) -> Result:
    """Over every axis after the channels."""
    x = node.input(0)
    op = "reduce_mean" if node.op_type == "GlobalAveragePool" else "reduce_max"
    return node.emit(op, x, axes=tuple(range(2, node.rank(x))), keepdims=1)
