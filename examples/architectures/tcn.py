"""A temporal convolutional network: dilated causal convolutions with residual connections, each with its ring."""

from __future__ import annotations

import torch
from torch import nn

from examples.architectures.catalogue import Example, normal, seeded


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.cut = 2 * dilation
        self.conv = nn.Conv1d(inputs, outputs, 3, padding=self.cut, dilation=dilation)
        self.skip = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)[:, :, : -self.cut] + self.skip(x))


class TCN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(4, 16, 1), Block(16, 16, 2), Block(16, 16, 4))
        self.last = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.blocks(x.transpose(1, 2)).transpose(1, 2))


EXAMPLE = Example(seeded(TCN), normal(30, 4))
