"""Trains the example's model in PyTorch: the flow in a water main, one hour ahead.

    python examples/water_flow/train.py

takes about a minute on one core and writes `forecaster.edgelstm`. It is fitted on 2022-04-05 to 2022-04-22 alone,
without any of the four anomalous segments, before (2022-03-24, 2022-03-29, 2022-04-03) and after (2022-04-27).
"""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

import edgelstm

FOLDER = Path(__file__).resolve().parent
FIRST, LAST = datetime.fromisoformat("2022-04-05T00:00+02:00"), datetime.fromisoformat("2022-04-22T23:00+02:00")
HIDDEN, UPDATES, BATCH, WARM_UP, WINDOW = 16, 400, 16, 24, 96


class Forecaster(nn.Module):
    """Flow in l/s -> flow one hour later, as the present one plus a change. Shapes (T, B, 1)."""

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        self.mean, self.spread = mean, spread
        self.lstm = nn.LSTM(1, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, flow: Tensor) -> Tensor:
        # Far from what was fitted the model is told "as far as it goes", and an outlier does not shake it for long.
        y, _ = self.lstm(torch.tanh((flow - self.mean) / (4 * self.spread)) * 4)
        return flow + self.head(y) * self.spread


def main() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    with (FOLDER / "water_flow.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    fitted = [float(flow) for time, flow in rows if FIRST <= datetime.fromisoformat(time) <= LAST]
    values = torch.from_numpy(np.array(fitted, np.float32))
    model = Forecaster(float(values.mean()), float(values.std()))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, UPDATES)
    steps = torch.arange(WARM_UP + WINDOW + 1)[:, None]
    for update in range(UPDATES):
        # Three weeks hold one level of demand; a random one keeps the fit from relying on it.
        part = values[torch.randint(len(values) - len(steps), (BATCH,)) + steps] + 1.5 * torch.randn(BATCH)
        loss = (model(part[:-1, :, None])[..., 0] - part[1:])[WARM_UP:].abs().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if update % 100 == 99:
            print(f"update {update + 1}: mean error {loss.item():.3f} l/s", flush=True)
    print(f"no change: mean error {(values[1:] - values[:-1]).abs().mean():.3f} l/s")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "forecaster.onnx"
        torch.onnx.export(
            model.eval(),
            (torch.zeros(2, 1, 1),),
            path,
            input_names=["flow"],
            output_names=["forecast"],
            dynamic_axes={"flow": {0: "time", 1: "batch"}, "forecast": {0: "time", 1: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        edgelstm.load(path).save(FOLDER / "forecaster.edgelstm")


if __name__ == "__main__":
    main()
