"""A language model over characters: embeddings, two LSTM layers, a distribution over the next character."""

from __future__ import annotations

import torch
from torch import nn

from examples.architectures.catalogue import Example, seeded, tokens


class CharacterModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(60, 16)
        self.cells = nn.LSTM(16, 32, num_layers=2, batch_first=True)
        self.next = nn.Linear(32, 60)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.next(self.cells(self.letters(letters))[0]), -1)


EXAMPLE = Example(seeded(CharacterModel), tokens(20, 60))
