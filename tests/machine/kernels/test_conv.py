from __future__ import annotations

import numpy as np
import pytest

from tests.machine.kernels.harness import reference, run

# x, w, strides, pads, dilations, group
CASES = [
    ((2, 3, 20), (5, 3, 4), (1,), (0, 0), (1,), 1),
    ((2, 3, 20), (5, 3, 4), (2,), (3, 1), (2,), 1),
    ((1, 6, 20), (8, 3, 4), (1,), (3, 0), (1,), 2),
    ((2, 6, 21), (40, 6, 1), (1,), (0, 0), (1,), 1),
    ((1, 5, 30), (5, 1, 3), (1,), (1, 1), (1,), 5),
    ((2, 6, 50), (12, 2, 3), (1,), (2, 2), (3,), 3),
    ((1, 3, 3, 40), (3, 1, 2, 3), (1, 1), (1, 1, 1, 1), (1, 2), 3),
    ((1, 4, 3), (17, 4, 3), (1,), (0, 0), (1,), 1),
    ((1, 2, 3), (3, 2, 2), (1,), (9, 9), (5,), 1),
    ((3, 1, 9, 11), (20, 1, 3, 2), (2, 1), (2, 1, 0, 3), (1, 2), 1),
    ((1, 4, 9, 30), (36, 2, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2),
]


@pytest.mark.parametrize("constants", [(), (1, 2)], ids=["run-time weights", "constant weights"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv(case: tuple, bias: bool, constants: tuple[int, ...]) -> None:
    shape, kernel, strides, pads, dilations, group = case
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(kernel).astype(np.float32)
    b = rng.standard_normal(kernel[0]).astype(np.float32) if bias else None
    attrs = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    got = run("conv", x, w, b, constants=constants if bias else constants[:1], **attrs)
    np.testing.assert_allclose(got, reference("conv", x, w, b, **attrs), rtol=0, atol=1e-5)


def test_a_causal_convolution_gives_the_same_bits_window_by_window() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((1, 6, 23)).astype(np.float32), rng.standard_normal((18, 6, 4)).astype(np.float32)
    attrs = {"strides": (1,), "dilations": (2,), "group": 1}
    whole = run("conv", x, w, None, pads=(0, 0), **attrs)
    for t in range(whole.shape[2]):
        window = x[:, :, t : t + 7].copy()
        assert np.array_equal(run("conv", window, w, None, pads=(0, 0), **attrs), whole[:, :, t : t + 1])


def test_sixteen_positions_at_once_give_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((1, 3, 60)).astype(np.float32), rng.standard_normal((6, 1, 5)).astype(np.float32)
    attrs = {"strides": (1,), "dilations": (2,), "pads": (0, 0), "group": 3}
    whole = run("conv", x, w, None, **attrs)
    for t in range(whole.shape[2]):
        assert np.array_equal(run("conv", x[:, :, t : t + 9].copy(), w, None, **attrs), whole[:, :, t : t + 1])


def test_padding_is_zeros_that_count() -> None:
    w = np.array([[[np.inf, 1.0]]], np.float32)
    got = run("conv", np.array([[[3.0]]], np.float32), w, None, strides=(1,), pads=(1, 0), dilations=(1,))
    assert np.isnan(got).all()  # 0 times infinity, as in the reference and in a stream, whose ring begins with zeros


def test_blocks_of_channels_and_positions_give_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 5, 9)).astype(np.float32)
    w, b = rng.standard_normal((70, 5, 3)).astype(np.float32), rng.standard_normal(70).astype(np.float32)
    attrs = {"strides": (1,), "dilations": (1,), "pads": (1, 1), "group": 1}
    whole = run("conv", x, w, b, **attrs)
    for first in (0, 16, 48, 64):
        part = run("conv", x, w[first : first + 16], b[first : first + 16], **attrs)
        assert np.array_equal(part, whole[:, first : first + 16])


@pytest.mark.parametrize("outputs", [2, 20, 36, 50, 64, 130, 150])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_number_of_blocks_and_positions(outputs: int, stride: int) -> None:
    """All that stands beside each other in registers, in lines and in planes: the same bits as a window at a time."""
    rng = np.random.default_rng(outputs)
    x, w = rng.standard_normal((1, 2, 2, 22)).astype(np.float32), rng.standard_normal((outputs, 2, 2, 3))
    w, b = w.astype(np.float32), rng.standard_normal(outputs).astype(np.float32)
    attrs = {"strides": (1, stride), "dilations": (1, 2), "pads": (0, 0, 0, 0), "group": 1}
    alone = [run("conv", x[..., t : t + 5].copy(), w, b, **attrs) for t in range(18)]
    for positions in range(1, 10 if stride == 1 else 6):
        whole = run("conv", x[..., : 5 + stride * (positions - 1)].copy(), w, b, **attrs)
        assert np.array_equal(whole, np.concatenate(alone[: stride * positions : stride], axis=3))
    np.testing.assert_allclose(
        whole, reference("conv", x[..., : 5 + stride * (positions - 1)], w, b, **attrs), atol=1e-5
    )
