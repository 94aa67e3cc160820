"""Maximum and mean over sliding windows in one or two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from edgelstm.graph.ir import Node
from edgelstm.program.lower.strides import flag, region, sizes
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

IMAGE = ("height", "width", "out_height", "out_width")
WINDOW = (
    *("kernel_height", "kernel_width", "stride_height", "stride_width"),
    *("dilation_height", "dilation_width", "pad_top", "pad_left"),
)


def check_windows(fields: Fields) -> None:
    """Sizes of an image and the windows over it; kernels skip whatever lies outside the image.

    Raises:
        ValueError: a size, stride or dilation below 1, or a pad below 0.
    """
    sizes(fields, *IMAGE[2:], *WINDOW[:6])
    sizes(fields, *IMAGE[:2], *WINDOW[6:], least=0)


def window_fields(shape: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...], node: Node) -> dict[str, int]:
    """The fields of a window over an image (N, C, L) or (N, C, H, W); one dimension is an image of height 1."""
    attrs: Mapping[str, Any] = node.attrs
    pads = attrs["pads"][: len(kernel)]  # what is behind the image shows in the output's size

    def both(values: tuple[int, ...], absent: int) -> tuple[int, ...]:
        return values if len(values) == 2 else (absent, *values)

    image = (*both(shape[2:], 1), *both(out[2:], 1))
    window = (
        *both(kernel, 1),
        *both(tuple(attrs["strides"]), 1),
        *both(tuple(attrs["dilations"]), 1),
        *both(tuple(pads), 0),
    )
    return dict(zip((*IMAGE, *WINDOW), map(int, (*image, *window)), strict=True))


def _check(fields: Fields) -> list[Region]:
    check_windows(fields)
    (planes,) = sizes(fields, "planes")
    height, width, out_height, out_width = (fields[name] for name in IMAGE)
    return [
        region(fields["x"], planes * height * width),
        region(fields["y"], planes * out_height * out_width, write=True),
    ]


def _check_avg(fields: Fields) -> list[Region]:
    flag(fields, "padded")
    return _check(fields)


# y[p, i, j] = greatest x[p, i*stride - pad + k*dilation, ...] inside the image, -inf where there is none
MAX_POOL = Opcode(41, "max_pool", ("x", "y", "planes", *IMAGE, *WINDOW), _check, ("x", "y"))
# the mean of the same entries; with `padded` 1 those outside the image count as 0
AVG_POOL = Opcode(42, "avg_pool", ("x", "y", "planes", "padded", *IMAGE, *WINDOW), _check_avg, ("x", "y"))


def lower_max_pool(node: Node, to: Lowering) -> None:
    """Every plane (row of the batch, channel) by itself."""
    x, y = node.inputs[0], node.outputs[0]
    shape, out = to.shape(x), to.shape(y)
    operands = {"x": to.operand(x), "y": to.result(y)}
    attrs: Mapping[str, Any] = node.attrs
    if prod(out):
        to.emit(MAX_POOL, **operands, planes=prod(shape[:2]), **window_fields(shape, out, tuple(attrs["kernel"]), node))


def lower_avg_pool(node: Node, to: Lowering) -> None:
    """Every plane by itself."""
    x, y = node.inputs[0], node.outputs[0]
    shape, out = to.shape(x), to.shape(y)
    operands = {"x": to.operand(x), "y": to.result(y)}
    attrs: Mapping[str, Any] = node.attrs
    if prod(out):
        windows = window_fields(shape, out, tuple(attrs["kernel"]), node)
        to.emit(AVG_POOL, **operands, planes=prod(shape[:2]), padded=attrs["count_include_pad"], **windows)


OPCODES = (MAX_POOL, AVG_POOL)
LOWER = {"max_pool": lower_max_pool, "avg_pool": lower_avg_pool}
