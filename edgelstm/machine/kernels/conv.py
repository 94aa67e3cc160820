"""Convolution: sixteen output channels a vector, eight vectors beside each other where all taps exist: four
neighbouring positions by two blocks of channels, two by four or one by eight; for a handful of channels (depthwise
above all) sixteen positions a vector.

One accumulator a result: the bias, then every tap inside the image, by channel, row, column, one multiply-add each;
so which way it was computed does not show. Lowering frames the image with zeros, so that every tap is inside.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.pool import DILATION, OUT, PAD, STRIDE, first_tap, last_tap
from edgelstm.machine.simd import LANES, broadcast, fma, lane, load, splat, store, store_partial, store_scalar
from edgelstm.program.lower.conv import CONV

_X, _W, _B, _Y = (CONV.column(name) for name in ("x", "w", "b", "y"))
_BATCH, _GROUP, _CHANNELS, _OUTPUTS = (CONV.column(name) for name in ("batch", "group", "channels", "outputs"))
_HEIGHT, _KERNEL = CONV.column("height"), CONV.column("kernel_height")

_FEW = 4  # up to so many channels, a vector of positions wastes less than a vector of channels


@numba.njit(error_model="numpy")
def _scatter(y, stride, v, lanes):
    """The first lanes of a vector to words `stride` apart."""
    if stride == 1:
        if lanes == LANES:
            store(y, 0, v)
        else:
            store_partial(y, 0, v, lanes)
    else:
        for i in range(lanes):
            store_scalar(y, i * stride, lane(v, i))


@numba.njit(forceinline=True)
def _start(b, channel):
    """The bias of sixteen channels; 0 where there is none."""
    return load(b, channel) if b != 0 else splat(0.0)


@numba.njit(error_model="numpy")
def _position(row, x, w, start, top, left):
    """The results of one position: x and w at the group's first channel and the block's first tap."""
    channels, height, width = field(row, _CHANNELS), field(row, _HEIGHT), field(row, _HEIGHT + 1)
    kernel_height, kernel_width = field(row, _KERNEL), field(row, _KERNEL + 1)
    dilation_height, dilation_width = field(row, _KERNEL + DILATION), field(row, _KERNEL + DILATION + 1)
    k_first, k_last = first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)
    m_first, m_last = first_tap(left, dilation_width), last_tap(left, dilation_width, kernel_width, width)
    v = start
    for c in range(channels):
        for k in range(k_first, k_last):
            line = (c * height + top + k * dilation_height) * width + left
            taps = (c * kernel_height + k) * kernel_width
            for m in range(m_first, m_last):
                v = fma(broadcast(x, line + m * dilation_width), load(w, (taps + m) * LANES), v)
    return v


@numba.njit(forceinline=True)
def _next_tap(row, m, k, at):
    """The tap after tap m of line k, whose input is word `at`; one flat loop over all taps wants no inner loops."""
    m += 1
    at += field(row, _KERNEL + DILATION + 1)
    if m == field(row, _KERNEL + 1):
        m = 0
        k += 1
        at += field(row, _HEIGHT + 1) * field(row, _KERNEL + DILATION)
        at -= field(row, _KERNEL + 1) * field(row, _KERNEL + DILATION + 1)
    if k == field(row, _KERNEL):
        k = 0
        at += field(row, _HEIGHT + 1) * (field(row, _HEIGHT) - field(row, _KERNEL) * field(row, _KERNEL + DILATION))
    return m, k, at


@numba.njit(error_model="numpy")
def _four_positions(row, x, w, b, first, blocks, y, step, lanes):
    """Four neighbouring positions, all of whose taps exist, for one or two blocks of channels."""
    taps = field(row, _CHANNELS) * field(row, _KERNEL) * field(row, _KERNEL + 1)
    stride = field(row, _KERNEL + STRIDE + 1)
    second = LANES * taps if blocks > 1 else 0
    v0 = v1 = v2 = v3 = _start(b, first)
    u0 = u1 = u2 = u3 = _start(b, first + LANES) if blocks > 1 else v0
    m = k = at = 0
    for _ in range(taps):
        tap, tap2 = load(w, 0), load(w, second)
        x0, x1 = broadcast(x, at), broadcast(x, at + stride)
        x2, x3 = broadcast(x, at + 2 * stride), broadcast(x, at + 3 * stride)
        v0, v1, v2, v3 = fma(x0, tap, v0), fma(x1, tap, v1), fma(x2, tap, v2), fma(x3, tap, v3)
        u0, u1, u2, u3 = fma(x0, tap2, u0), fma(x1, tap2, u1), fma(x2, tap2, u2), fma(x3, tap2, u3)
        w += 4 * LANES
        m, k, at = _next_tap(row, m, k, at)
    last = lanes if blocks == 1 else LANES
    _scatter(y, step, v0, last)
    _scatter(y + 4, step, v1, last)
    _scatter(y + 8, step, v2, last)
    _scatter(y + 12, step, v3, last)
    if blocks > 1:
        y += 4 * LANES * step
        _scatter(y, step, u0, lanes)
        _scatter(y + 4, step, u1, lanes)
        _scatter(y + 8, step, u2, lanes)
        _scatter(y + 12, step, u3, lanes)


@numba.njit(error_model="numpy")
def _five_positions(row, x, w, b, first, blocks, y, step, lanes):
    """As `_four_positions`, where a row ends after five."""
    taps = field(row, _CHANNELS) * field(row, _KERNEL) * field(row, _KERNEL + 1)
    stride = field(row, _KERNEL + STRIDE + 1)
    second = LANES * taps if blocks > 1 else 0
    v0 = v1 = v2 = v3 = v4 = _start(b, first)
    u0 = u1 = u2 = u3 = u4 = _start(b, first + LANES) if blocks > 1 else v0
    m = k = at = 0
    for _ in range(taps):
        tap, tap2 = load(w, 0), load(w, second)
        x0, x1 = broadcast(x, at), broadcast(x, at + stride)
        x2, x3, x4 = broadcast(x, at + 2 * stride), broadcast(x, at + 3 * stride), broadcast(x, at + 4 * stride)
        v0, v1, v2, v3, v4 = fma(x0, tap, v0), fma(x1, tap, v1), fma(x2, tap, v2), fma(x3, tap, v3), fma(x4, tap, v4)
        u0, u1, u2, u3 = fma(x0, tap2, u0), fma(x1, tap2, u1), fma(x2, tap2, u2), fma(x3, tap2, u3)
        u4 = fma(x4, tap2, u4)
        w += 4 * LANES
        m, k, at = _next_tap(row, m, k, at)
    last = lanes if blocks == 1 else LANES
    _scatter(y, step, v0, last)
    _scatter(y + 4, step, v1, last)
    _scatter(y + 8, step, v2, last)
    _scatter(y + 12, step, v3, last)
    _scatter(y + 16, step, v4, last)
    if blocks > 1:
        y += 4 * LANES * step
        _scatter(y, step, u0, lanes)
        _scatter(y + 4, step, u1, lanes)
        _scatter(y + 8, step, u2, lanes)
        _scatter(y + 12, step, u3, lanes)
        _scatter(y + 16, step, u4, lanes)


@numba.njit(error_model="numpy")
def _four_blocks(row, x, w, b, first, positions, blocks, y, step, lanes):
    """One or two positions, all of whose taps exist, for two to four blocks of channels.

    What is missing is computed twice and written once: the time is that of a chain, not of the arithmetic.
    """
    taps = field(row, _CHANNELS) * field(row, _KERNEL) * field(row, _KERNEL + 1)
    stride = field(row, _KERNEL + STRIDE + 1) if positions > 1 else 0
    block, last = LANES * taps, blocks - 1
    third, fourth = min(2, last), min(3, last)
    w2, w3, w4 = w + 4 * block, w + 4 * block * third, w + 4 * block * fourth
    v0, v1 = _start(b, first), _start(b, first + LANES)
    v2, v3 = _start(b, first + third * LANES), _start(b, first + fourth * LANES)
    u0, u1, u2, u3 = v0, v1, v2, v3
    m = k = at = i = 0
    for _ in range(taps):
        x0, x1 = broadcast(x, at), broadcast(x, at + stride)
        tap0, tap1, tap2, tap3 = load(w, i), load(w2, i), load(w3, i), load(w4, i)
        v0, v1, v2, v3 = fma(x0, tap0, v0), fma(x0, tap1, v1), fma(x0, tap2, v2), fma(x0, tap3, v3)
        u0, u1, u2, u3 = fma(x1, tap0, u0), fma(x1, tap1, u1), fma(x1, tap2, u2), fma(x1, tap3, u3)
        i += LANES
        m, k, at = _next_tap(row, m, k, at)
    next_block = 4 * LANES * step
    for _ in range(positions):
        _scatter(y, step, v0, LANES)
        _scatter(y + next_block, step, v1, LANES if last > 1 else lanes)
        if last > 1:
            _scatter(y + 2 * next_block, step, v2, LANES if last > 2 else lanes)
        if last > 2:
            _scatter(y + 3 * next_block, step, v3, lanes)
        v0, v1, v2, v3 = u0, u1, u2, u3
        y += 4


@numba.njit(error_model="numpy")
def _eight_blocks(row, x, w, b, first, y, step, lanes):
    """One position, all of whose taps exist, for eight blocks of channels."""
    taps = field(row, _CHANNELS) * field(row, _KERNEL) * field(row, _KERNEL + 1)
    block = LANES * taps
    w4 = w + 16 * block
    v0, v1 = _start(b, first), _start(b, first + LANES)
    v2, v3 = _start(b, first + 2 * LANES), _start(b, first + 3 * LANES)
    v4, v5 = _start(b, first + 4 * LANES), _start(b, first + 5 * LANES)
    v6, v7 = _start(b, first + 6 * LANES), _start(b, first + 7 * LANES)
    m = k = at = i = 0
    for _ in range(taps):
        v = broadcast(x, at)
        v0, v1 = fma(v, load(w, i), v0), fma(v, load(w, i + block), v1)
        v2, v3 = fma(v, load(w, i + 2 * block), v2), fma(v, load(w, i + 3 * block), v3)
        v4, v5 = fma(v, load(w4, i), v4), fma(v, load(w4, i + block), v5)
        v6, v7 = fma(v, load(w4, i + 2 * block), v6), fma(v, load(w4, i + 3 * block), v7)
        i += LANES
        m, k, at = _next_tap(row, m, k, at)
    for n in range(8):
        _scatter(y, step, v0, LANES if n < 7 else lanes)
        v0, v1, v2, v3, v4, v5, v6 = v1, v2, v3, v4, v5, v6, v7
        y += 4 * LANES * step


@numba.njit(error_model="numpy")
def _sixteen_positions(row, x, w, start, top, left, y, step, lanes):
    """As `_position`, for this position and the fifteen to its right, one apart, all of whose columns exist."""
    channels, height, width = field(row, _CHANNELS), field(row, _HEIGHT), field(row, _HEIGHT + 1)
    kernel_height, kernel_width = field(row, _KERNEL), field(row, _KERNEL + 1)
    dilation_height, dilation_width = field(row, _KERNEL + DILATION), field(row, _KERNEL + DILATION + 1)
    k_first, k_last = first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)
    for o in range(lanes):
        v = splat(lane(start, o))
        for c in range(channels):
            for k in range(k_first, k_last):
                line = (c * height + top + k * dilation_height) * width + left
                taps = (c * kernel_height + k) * kernel_width
                for m in range(kernel_width):
                    v = fma(load(x, line + m * dilation_width), broadcast(w, (taps + m) * LANES + o), v)
        store(y, o * step, v)


@numba.njit(error_model="numpy")
def _planes(row, x, w, b, first, y, blocks, lanes):
    """Every position of one to four, or eight, neighbouring blocks of channels, the last of which has `lanes`."""
    out_height, out_width = field(row, _HEIGHT + OUT), field(row, _HEIGHT + OUT + 1)
    stride_height, stride_width = field(row, _KERNEL + STRIDE), field(row, _KERNEL + STRIDE + 1)
    pad_top, pad_left = field(row, _KERNEL + PAD), field(row, _KERNEL + PAD + 1)
    reach_height = (field(row, _KERNEL) - 1) * field(row, _KERNEL + DILATION)
    reach = (field(row, _KERNEL + 1) - 1) * field(row, _KERNEL + DILATION + 1)
    height, width, step = field(row, _HEIGHT), field(row, _HEIGHT + 1), out_height * out_width
    block = LANES * field(row, _CHANNELS) * field(row, _KERNEL) * field(row, _KERNEL + 1)
    for i in range(out_height):
        top = i * stride_height - pad_top
        lines = top >= 0 and top + reach_height < height
        j = 0
        while j < out_width:
            left = j * stride_width - pad_left
            at, source = y + 4 * (i * out_width + j), x + 4 * (top * width + left)
            whole = 0  # how many neighbouring positions have all their taps, as far as that matters
            if lines and left >= 0:
                whole = _positions(out_width - j, width - left - reach, stride_width)
            if (
                whole >= 4
                and blocks == 1
                and lanes <= _FEW
                and _sixteen_fit(stride_width, out_width - j, width - left - reach)
            ):
                _sixteen_positions(row, x, w, _start(b, first), top, left, at, step, lanes)
                j += LANES
            elif whole >= 4:
                five = whole == 5 and out_width - j == 5
                for n in range(0, blocks, 2):
                    pair, rest = min(2, blocks - n), lanes if n + 2 >= blocks else LANES
                    packed, to = w + 4 * n * block, at + 4 * n * LANES * step
                    if five:
                        _five_positions(row, source, packed, b, first + n * LANES, pair, to, step, rest)
                    else:
                        _four_positions(row, source, packed, b, first + n * LANES, pair, to, step, rest)
                j += 5 if five else 4
            elif whole == 1 and blocks == 8:
                _eight_blocks(row, source, w, b, first, at, step, lanes)
                j += 1
            elif whole >= 1 and blocks > 1:
                positions = min(whole, 2)
                for n in range(0, blocks, 4):
                    some, rest = min(4, blocks - n), lanes if n + 4 >= blocks else LANES
                    to = at + 4 * n * LANES * step
                    _four_blocks(row, source, w + 4 * n * block, b, first + n * LANES, positions, some, to, step, rest)
                j += positions
            else:
                for n in range(blocks):
                    v = _position(row, x, w + 4 * n * block, _start(b, first + n * LANES), top, left)
                    _scatter(at + 4 * n * LANES * step, step, v, lanes if n == blocks - 1 else LANES)
                j += 1


@numba.njit(forceinline=True)
def _positions(left, room, stride):
    """How many of up to five positions, `stride` apart, start within `room` words; `left` are left of the row."""
    n = min(left, 5)
    while n > 0 and (n - 1) * stride >= room:
        n -= 1
    return n


@numba.njit(forceinline=True)
def _sixteen_fit(stride, positions, room):
    """Whether sixteen neighbouring positions are left, and may be read."""
    return stride == 1 and positions >= LANES and LANES <= room


@numba.njit(error_model="numpy")
def conv(context, row):
    """CONV: see `program/lower/conv.py`."""
    x, w, b, y = place(context, row, _X), place(context, row, _W), place(context, row, _B), place(context, row, _Y)
    group, channels, outputs = field(row, _GROUP), field(row, _CHANNELS), field(row, _OUTPUTS)
    image = channels * field(row, _HEIGHT) * field(row, _HEIGHT + 1)
    plane = field(row, _HEIGHT + OUT) * field(row, _HEIGHT + OUT + 1)
    taps = channels * field(row, _KERNEL) * field(row, _KERNEL + 1) * LANES
    for n in range(field(row, _BATCH)):
        packed = w
        for g in range(group):
            first = 0
            while first < outputs:
                left = (outputs - first + LANES - 1) // LANES
                blocks = 8 if left >= 8 else min(left, 4)
                lanes = min(LANES, outputs - first - (blocks - 1) * LANES)
                target = y + 4 * ((n * group + g) * outputs + first) * plane
                _planes(row, x + 4 * (n * group + g) * image, packed, b, g * outputs + first, target, blocks, lanes)
                packed += 4 * taps * blocks
                first += LANES * blocks
