"""Convolution, LSTM, and attention pooling over all steps so far: the weights of every reading change the whole."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from examples.architectures.catalogue import Example, normal, seeded


class CnnLstmAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 16, 5)
        self.cell = nn.LSTM(16, 24, batch_first=True)
        self.score = nn.Linear(24, 1)
        self.last = nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x.transpose(1, 2), (4, 0))  # causal
        hidden = self.cell(torch.relu(self.conv(x)).transpose(1, 2))[0]
        weights = torch.softmax(self.score(torch.tanh(hidden)), 1)
        return self.last((weights * hidden).sum(1))


EXAMPLE = Example(seeded(CnnLstmAttention), normal(25, 6))
