"""A classifier of sequences: LSTM(100, 128), the mean over time, Linear(5). In a stream the mean is a running one."""

from __future__ import annotations

import torch
from torch import nn

from examples.architectures.catalogue import Example, normal, seeded


class MeanPooledLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(100, 128, batch_first=True)
        self.classes = nn.Linear(128, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes(self.cell(x)[0].mean(1))


EXAMPLE = Example(seeded(MeanPooledLSTM), normal(20, 100))
