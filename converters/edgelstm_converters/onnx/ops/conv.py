"""Conv and ConvTranspose, in one or two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from edgelstm.graph.dims import Dim
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Value

MAX_STRIDE = 1 << 16  # of a transposed convolution, which writes so many zeros between its readings


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
    kernel = [node.number(size, "the weights") for size in node.shape(w)][2:]
    if "kernel_shape" in node.attrs and list(node.attrs.integers("kernel_shape")) != kernel:
        raise node.refuse(f"kernel_shape does not fit the weights {w.type}")
    attrs = window(node, kernel, node.shape(x)[2:])
    return node.emit("conv", x, w, node.optional(2), group=node.attrs.integer("group", 1), **attrs)


@handles("ConvTranspose")
def conv_transpose(node: OnnxNode) -> Result:
    """Zeros between the entries of x, then a convolution with the kernel turned round."""
    x, w = node.input(0), node.input(1)
    rank = node.rank(x) - 2
    if rank not in (1, 2):
        raise node.refuse(f"expected 3 or 4 axes (1-D or 2-D convolution), got {x.type}")
    group = node.attrs.integer("group", 1)
    kernel = [node.number(size, "the weights") for size in node.shape(w)][2:]
    if "kernel_shape" in node.attrs and list(node.attrs.integers("kernel_shape")) != kernel:
        raise node.refuse(f"kernel_shape does not fit the weights {w.type}")
    strides = node.attrs.integers("strides", (1,) * rank)
    dilations = node.attrs.integers("dilations", (1,) * rank)
    if not len(kernel) == len(strides) == len(dilations) == rank or min((*strides, *dilations)) < 1:
        raise node.refuse(f"expected strides and dilations of at least 1 for {rank} axes")
    if max(strides) > MAX_STRIDE:
        raise node.refuse(f"expected strides of at most {MAX_STRIDE}, got {max(strides)}")
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    front, back = _crops(node, node.shape(x)[2:], strides, spans)
    for axis, stride in enumerate(strides, start=2):
        x = _spread(node, x, axis, stride)
    around = [span - 1 - crop for span, crop in zip((*spans, *spans), (*front, *back), strict=True)]
    pads, cuts = tuple(max(pad, 0) for pad in around), [max(-pad, 0) for pad in around]
    for axis in range(rank):
        length = node.shape(x)[axis + 2]
        x = node.slice(x, axis + 2, cuts[axis], length - cuts[axis + rank])
    return node.emit(
        "conv",
        x,
        _turned(node, w, group),
        node.optional(2),
        group=group,
        strides=(1,) * rank,
        pads=pads,
        dilations=dilations,
    )


def _crops(
    node: OnnxNode, lengths: Sequence[Dim], strides: Sequence[int], spans: Sequence[int]
) -> tuple[list[int], list[int]]:
    """What is cut off the full result at the front and the back of each axis; less than nothing adds zeros."""
    rank = len(spans)
    more = node.attrs.integers("output_padding", (0,) * rank)
    auto = node.attrs.text("auto_pad", "NOTSET")
    if "output_shape" not in node.attrs and auto in ("NOTSET", "VALID"):
        pads = node.attrs.integers("pads", (0,) * (2 * rank)) if auto == "NOTSET" else (0,) * (2 * rank)
        return list(pads[:rank]), [pad - extra for pad, extra in zip(pads[rank:], more, strict=True)]
    if auto not in ("NOTSET", "SAME_UPPER", "SAME_LOWER"):
        raise node.refuse(f"auto_pad={auto!r}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    wanted: Sequence[Dim] = [length * stride for length, stride in zip(lengths, strides, strict=True)]
    if "output_shape" in node.attrs:
        wanted = node.attrs.integers("output_shape")[-rank:]
    front, back = [], []
    for length, stride, span, extra, size in zip(lengths, strides, spans, more, wanted, strict=True):
        every = node.symbols.resolve(stride * (length - 1) + extra + span - size)
        total = every if isinstance(every, int) else node.symbols.pin(every, "output_shape")
        if total is None:
            raise node.refuse("output_shape pads differently for every length; export explicit pads")
        half = total // 2 if auto == "SAME_UPPER" else total - total // 2
        front.append(half)
        back.append(total - half - extra)
    return front, back


def _spread(node: OnnxNode, x: Value, axis: int, stride: int) -> Value:
    """stride - 1 zeros between the entries of an axis."""
    if stride == 1:
        return x
    shape = list(node.shape(x))
    length, rank = shape[axis], len(shape) + 1
    pads = [0] * (2 * rank)
    pads[rank + axis + 1] = stride - 1
    apart = node.emit("pad", node.reshape(x, [*shape[: axis + 1], 1, *shape[axis + 1 :]]), pads=tuple(pads))
    shape[axis] = length * stride
    return node.slice(node.reshape(apart, shape), axis, 0, length * stride - (stride - 1))


def _turned(node: OnnxNode, w: Value, group: int) -> Value:
    """(C, M / group, *kernel) as (M, C / group, *kernel), the kernel back to front."""
    many, outputs, *kernel = node.shape(w)
    rank, channels = len(kernel), node.number(many, "the channels")
    if group < 1 or channels % group:
        raise node.refuse(f"group={group} does not divide the channels of {w.type}")
    parts = node.reshape(w, [group, channels // group, outputs, *kernel])
    parts = node.transpose(parts, (0, 2, 1, *range(3, 3 + rank)))
    parts = node.reshape(parts, [group * outputs, channels // group, *kernel])
    for axis, size in enumerate(kernel, start=2):
        parts = node.slice(parts, axis, size - 1, -1, -1)
    return parts
