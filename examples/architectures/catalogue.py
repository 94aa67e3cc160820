"""What every example offers: a PyTorch module, readings to run it on, and how it is streamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Example:
    """One architecture.

    Attributes:
        build: makes the module, initialised with a fixed seed.
        readings: one sequence without a batch axis, (T, ...).
        stream: options of `Model.stream`.
        exact: whether the stream equals the whole sequence bit for bit; a lookahead does not.
        exporters: "torchscript" and "dynamo", those of PyTorch's exporters that make a file of it.
    """

    build: Callable[[], torch.nn.Module]
    readings: Callable[[], torch.Tensor]
    stream: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True
    exporters: tuple[str, ...] = ("torchscript", "dynamo")


def seeded(build: Callable[[], torch.nn.Module]) -> Callable[[], torch.nn.Module]:
    """The same weights every time."""

    def made() -> torch.nn.Module:
        torch.manual_seed(0)
        return build().eval()

    return made


def normal(*shape: int) -> Callable[[], torch.Tensor]:
    """The same random readings every time."""
    return lambda: torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def tokens(length: int, below: int) -> Callable[[], torch.Tensor]:
    """The same random token ids every time."""
    return lambda: torch.randint(0, below, (length,), generator=torch.Generator().manual_seed(1))
