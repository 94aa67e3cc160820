"""A small Transformer with causal attention and learned positions. In a stream it keeps the keys and values so far."""

from __future__ import annotations

import torch
from torch import nn

from examples.architectures.catalogue import Example, normal, seeded

LONGEST = 64


class Transformer(nn.Module):
    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.embed = nn.Linear(4, width)
        self.places = nn.Parameter(torch.randn(LONGEST, width) * 0.1)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        x = self.embed(x) + self.places[:length]
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1)
        )
        scores = query @ key.transpose(-1, -2) / (self.width // self.heads) ** 0.5
        hidden = torch.triu(torch.full((length, length), float("-inf")), 1)
        mixed = torch.softmax(scores + hidden, -1) @ value
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, self.width))
        return x + self.narrow(torch.relu(self.wide(self.norm2(x))))


EXAMPLE = Example(seeded(Transformer), normal(24, 4), {"history": LONGEST})
