"""Conv and MaxPool, in one or two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from edgelstm.graph.dims import Dim
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles


def window(node: OnnxNode, kernel: Sequence[int], lengths: Sequence[Dim]) -> dict[str, tuple[int, ...]]:
    """strides, pads and dilations of a sliding window; auto_pad made explicit.

    Args:
        node: has the attributes.
        kernel: window sizes.
        lengths: sizes of the axes that it slides along.
    """
    rank = len(kernel)
    strides = node.attrs.integers("strides", (1,) * rank)
    dilations = node.attrs.integers("dilations", (1,) * rank)
    auto = node.attrs.text("auto_pad", "NOTSET")
    pads = (0,) * (2 * rank) if auto != "NOTSET" else node.attrs.integers("pads", (0,) * (2 * rank))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        both = [_same_pads(node, *sizes) for sizes in zip(lengths, kernel, strides, dilations, strict=True)]
        small, large = [pad // 2 for pad in both], [pad - pad // 2 for pad in both]
        pads = tuple(small + large if auto == "SAME_UPPER" else large + small)
    elif auto not in ("NOTSET", "VALID"):
        raise node.refuse(f"auto_pad={auto!r}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    if min(pads, default=0) < 0:
        raise node.refuse(f"pads={list(pads)}: negative pads are not supported")
    return {"strides": strides, "pads": pads, "dilations": dilations}


def _same_pads(node: OnnxNode, length: Dim, kernel: int, stride: int, dilation: int) -> int:
    """Total padding that makes the output ceil(length / stride) long."""
    span = dilation * (kernel - 1) + 1
    if stride == 1:
        return span - 1
    size = node.symbols.resolve(length)
    if not isinstance(size, int):
        fixed = node.symbols.pin(size, "auto_pad=SAME with a stride")
        if fixed is None:
            raise node.refuse("auto_pad=SAME with a stride pads differently for every length; export explicit pads")
        size = fixed
    return max((-(-size // stride) - 1) * stride + span - size, 0)


@handles("Conv")
def conv(node: OnnxNode) -> Result:
    """Convolution over the axes after the channels."""
    x, w = node.input(0), node.input(1)
    if node.rank(x) not in (3, 4):
        raise node.refuse(f"expected 3 or 4 axes (1-D or 2-D convolution), got {x.type}")
    kernel = [size for size in node.shape(w)[2:] if isinstance(size, int)]
    if "kernel_shape" in node.attrs and list(node.attrs.integers("kernel_shape")) != kernel:
        raise node.refuse(f"kernel_shape does not fit the weights {w.type}")
    attrs = window(node, kernel, node.shape(x)[2:])
    return node.emit("conv", x, w, node.optional(2), group=node.attrs.integer("group", 1), **attrs)


@handles("MaxPool")
def max_pool(node: OnnxNode) -> Result:
    """Largest entry of each window; padding never wins."""
    x = node.input(0)
    if node.rank(x) not in (3, 4):
        raise node.refuse(f"expected 3 or 4 axes (1-D or 2-D pooling), got {x.type}")
    kernel = node.attrs.integers("kernel_shape")
    node.attrs.only("ceil_mode", 0, "windows that reach past the end")
    node.attrs.ignore("storage_order", "it concerns the output Indices")
    return node.emit("max_pool", x, kernel=kernel, **window(node, kernel, node.shape(x)[2:]))
