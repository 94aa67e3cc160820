"""Video: a 2-D convolutional network on every frame, then an LSTM over the frames."""

from __future__ import annotations

import torch
from torch import nn

from examples.architectures.catalogue import Example, normal, seeded


class VideoNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.cell = nn.LSTM(8 * 6 * 6, 32, batch_first=True)
        self.classes = nn.Linear(32, 4)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        batch, length = frames.shape[:2]
        seen = torch.max_pool2d(torch.relu(self.conv(frames.reshape(-1, 1, 12, 12))), 2)
        return self.classes(self.cell(seen.reshape(batch, length, -1))[0])


EXAMPLE = Example(seeded(VideoNet), normal(10, 1, 12, 12), exporters=("torchscript",))  # dynamo fixes the length
