"""Sentiment: embeddings, a GRU, its last state, one number. In a stream: the sentiment of the text so far."""

from __future__ import annotations

import torch
from torch import nn

from examples.architectures.catalogue import Example, seeded, tokens


class Sentiment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(200, 16)
        self.cell = nn.GRU(16, 24, batch_first=True)
        self.last = nn.Linear(24, 1)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        _, hidden = self.cell(self.words(words))
        return torch.sigmoid(self.last(hidden[-1]))


EXAMPLE = Example(seeded(Sentiment), tokens(30, 200))
