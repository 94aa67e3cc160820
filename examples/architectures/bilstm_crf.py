"""Tagging: a bidirectional LSTM gives emissions, a conditional random field the best path through them.

The stream looks four readings ahead; `examples/architectures/__main__.py` decodes what it gives with `edgelstm.CRF`.
"""

from __future__ import annotations

import torch
from torch import nn

from examples.architectures.catalogue import Example, seeded, tokens

TAGS = 5


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 12)
        self.cell = nn.LSTM(12, 16, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(32, TAGS)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.tags(self.cell(self.words(words))[0])


EXAMPLE = Example(seeded(Tagger), tokens(20, 50), {"lookahead": 4}, exact=False)
