"""Trains the demo's model in PyTorch and exports it: sea surface temperature, six hours ahead.

    python examples/sea_surface_temperature/train.py

takes about a minute on one core and writes `forecaster.onnx` beside the readings in edgelstm/cli/demo_data, where
`edgelstm demo` finds it. The readings are split by time, and a fit sees nothing from its part's end on:

    2016-02-15 to 2016-07-31   fit
    2016-08-01 to 2016-08-31   validation of that fit
    2016-09-01 to 2017-03-22   held out, for a second fit on everything before

Normalisation is part of the exported graph, so the model takes readings in degrees Celsius as they come.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[2] / "edgelstm" / "cli" / "demo_data"
VALIDATION = datetime(2016, 8, 1, tzinfo=UTC)
HELD_OUT = datetime(2016, 9, 1, tzinfo=UTC)
AHEAD = timedelta(hours=6)
DAY = timedelta(days=1)

HIDDEN = 32
BATCH = 32
WARM_UP = 96  # steps (two days) that fill the state before the loss counts
WINDOW = 384  # steps (eight days) that count
UPDATES = 2000
RATE = 0.01


class Forecaster(nn.Module):
    """Reading in °C -> reading `AHEAD` later in °C, as the present reading plus a change. Shapes (T, B, 1)."""

    def __init__(self, mean: float, spread: float, change: float) -> None:
        super().__init__()
        self.mean, self.spread, self.change = mean, spread, change
        self.lstm = nn.LSTM(1, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.head.weight)  # starts as the naive forecast: no change
        nn.init.zeros_(self.head.bias)
        # Memories of 1.5 to 200 steps from the start: Tallec and Ollivier 2018, "Can recurrent neural networks warp
        # time?", equation 16.
        memory = torch.linspace(math.log(1.5), math.log(200), HIDDEN)
        with torch.no_grad():
            self.lstm.bias_hh_l0[:HIDDEN] = -memory
            self.lstm.bias_hh_l0[HIDDEN : 2 * HIDDEN] = memory

    def forward(self, temperature: Tensor) -> Tensor:
        y, _ = self.lstm((temperature - self.mean) / self.spread)
        return temperature + self.head(y) * self.change


def read() -> tuple[list[datetime], np.ndarray]:
    with gzip.open(FOLDER / "sea_surface_temperature.csv.gz", "rt") as file:
        rows = list(csv.reader(file))[1:]
    return [datetime.fromisoformat(time) for time, _ in rows], np.array([float(value) for _, value in rows], np.float32)


def shifted(times: list[datetime], values: np.ndarray, by: timedelta) -> np.ndarray:
    """The value `by` later than each reading, NaN where there is none: the series has gaps."""
    at = dict(zip(times, values, strict=True))
    return np.array([at.get(time + by, math.nan) for time in times], np.float32)


def fit(values: np.ndarray, future: np.ndarray, seed: int) -> Forecaster:
    torch.manual_seed(seed)
    change = float(np.nanstd(future - values))
    model = Forecaster(float(values.mean()), float(values.std()), change)
    x_all, y_all = torch.from_numpy(values), torch.from_numpy(future)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, UPDATES)
    steps = torch.arange(WARM_UP + WINDOW)[:, None]
    for update in range(UPDATES):
        index = torch.randint(len(values) - len(steps), (BATCH,)) + steps
        x, y = x_all[index], y_all[index]
        # Half a year holds few storms and tides. What a window says about change holds as well upside down, weaker or
        # stronger, and in colder or warmer water: this is what keeps summer's fit useful in winter.
        factor = (0.3 + 1.2 * torch.rand(BATCH)) * (torch.randint(2, (BATCH,)) * 2 - 1)
        level, offset = x.mean(0), 8 * torch.randn(BATCH)
        x, y = (level + factor * (part - level) + offset for part in (x, y))
        error = ((model(x[..., None])[..., 0] - y) / (change * factor))[WARM_UP:]
        loss = error[~error.isnan()].square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if update % 200 == 199:
            print(f"  update {update + 1}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def report(
    name: str, model: Forecaster, times: list[datetime], values: np.ndarray, start: datetime, end: datetime
) -> None:
    """RMSE of the model and of both naive forecasts, on forecasts made from `start` on for times before `end`.

    The model has read everything since the first reading, one at a time, as it would live.
    """
    with torch.no_grad():
        forecast = model(torch.from_numpy(values)[:, None, None])[:, 0, 0].numpy()
    truth, yesterday = shifted(times, values, AHEAD), shifted(times, values, AHEAD - DAY)
    scored = (
        np.array([start <= time and time + AHEAD < end for time in times]) & ~np.isnan(truth) & ~np.isnan(yesterday)
    )
    print(f"{name}: {scored.sum()} forecasts, RMSE in °C")
    for label, guess in (("model", forecast), ("last value", values), ("same time yesterday", yesterday)):
        print(f"  {label:20} {np.sqrt(np.mean((guess - truth)[scored] ** 2)):.4f}")


def export(model: Forecaster, path: Path) -> None:
    import onnx

    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 1),),
        path,
        input_names=["temperature"],
        output_names=["forecast"],
        dynamic_axes={"temperature": {0: "time", 1: "batch"}, "forecast": {0: "time", 1: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    file = onnx.load(path)
    onnx.helper.set_model_props(file, {"features": "temperature (celsius)"})
    onnx.checker.check_model(file)
    onnx.save(file, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER / "forecaster.onnx")
    options = parser.parse_args()
    torch.set_num_threads(1)
    times, values = read()
    future = shifted(times, values, AHEAD)
    ahead = AHEAD // timedelta(minutes=30)
    for name, start, end in (("validation", VALIDATION, HELD_OUT), ("held out", HELD_OUT, times[-1] + AHEAD)):
        print(f"fitting on the readings before {start:%Y-%m-%d}")
        count = sum(time < start for time in times)
        # The last targets would lie past the end of the part; they are cut off.
        model = fit(
            values[:count], np.append(future[: count - ahead], np.full(ahead, math.nan, np.float32)), options.seed
        )
        report(name, model, times, values, start, end)
    export(model, options.out)
    print(f"wrote {options.out} ({options.out.stat().st_size / 1024:.0f} KB)")


if __name__ == "__main__":
    main()
