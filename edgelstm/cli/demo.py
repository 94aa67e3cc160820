"""Forecasts a buoy's sea surface temperature six hours ahead, live.

Converts an ONNX model that PyTorch trained on the readings before 2016-09-01, replays the later ones one at a time,
and scores each forecast against what came and against two naive forecasts: the last value, and the same time
yesterday. Writes a chart of forecast against truth. See examples/sea_surface_temperature for the training.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from edgelstm.cli.chart import Line, draw

if TYPE_CHECKING:
    from edgelstm.runtime.model import Model

DATA = Path(__file__).parent / "demo_data"
HELD_OUT = datetime(2016, 9, 1, tzinfo=UTC)
AHEAD = timedelta(hours=6)
DAY = timedelta(days=1)
SHOWN_DAYS = 14  # of the chart; the whole would be one thick line
NAMES = ("model", "last value", "same time yesterday")


@dataclass(slots=True)
class Score:
    """Running root mean square error of one forecaster."""

    squares: float = 0.0
    count: int = 0

    def add(self, error: float) -> None:
        """One more forecast."""
        self.squares += error * error
        self.count += 1

    @property
    def rmse(self) -> float:
        """NaN before the first forecast."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan


@dataclass(slots=True)
class Replay:
    """What the replay leaves: scores by forecaster, forecasts by the time they are for, nanoseconds of each step."""

    scores: dict[str, Score] = field(default_factory=lambda: {name: Score() for name in NAMES})
    forecasts: dict[datetime, float] = field(default_factory=dict)
    nanoseconds: list[int] = field(default_factory=list)


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm demo`."""
    parser.add_argument(
        "--out", metavar="FILE", type=Path, default=Path("demo.svg"), help="the chart (default: demo.svg)"
    )
    parser.add_argument(
        "--every", metavar="DAYS", type=int, default=14, help="days between printed lines (default: 14)"
    )


def main(options: argparse.Namespace) -> int:
    """See the module."""
    model = _convert()
    readings = list(read())
    print(f"{len(readings)} readings, live from {HELD_OUT:%Y-%m-%d} on; the earlier ones only fill the state\n")
    result = replay(model, readings, max(options.every, 1))
    table(result)
    options.out.write_text(chart(result, readings), encoding="utf-8")
    print(f"\nwrote {options.out}: forecast against truth over {SHOWN_DAYS} days")
    return 0


def read() -> Iterator[tuple[datetime, float]]:
    """The buoy's readings: time and °C."""
    with gzip.open(DATA / "sea_surface_temperature.csv.gz", "rt", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        for when, value in rows:
            yield datetime.fromisoformat(when), float(value)


def replay(model: Model, readings: list[tuple[datetime, float]], every: int) -> Replay:
    """Feeds one reading at a time; prints a line each `every` days.

    The readings before the held-out part fill the state, as a device that has been running would have it.
    """
    import numpy as np

    result, known, due = Replay(), dict(readings), HELD_OUT
    stream = model.stream()
    x, y = np.zeros(1, np.float32), np.zeros(1, np.float32)
    _heading()
    for when, value in readings:
        x[0] = value
        before = time.perf_counter_ns()
        stream.step(x, out=y)
        elapsed = time.perf_counter_ns() - before
        forecast = float(y[0])
        if when < HELD_OUT:
            continue
        result.nanoseconds.append(elapsed)
        target = when + AHEAD
        result.forecasts[target] = forecast
        truth, yesterday = known.get(target), known.get(target - DAY)
        if truth is None or yesterday is None:
            continue  # the series has gaps
        for name, guess in zip(NAMES, (forecast, value, yesterday), strict=True):
            result.scores[name].add(guess - truth)
        if when >= due:
            _line(target, forecast, truth, result)
            due += timedelta(days=every)
    return result


def table(result: Replay) -> None:
    """The final scores, and the time that steps took."""
    print(f"\n{result.scores['model'].count} forecasts, six hours ahead; root mean square error:")
    for name, score in result.scores.items():
        better = 1 - result.scores["model"].rmse / score.rmse
        print(f"  {name:20} {score.rmse:.4f} °C" + ("" if name == "model" else f"   the model's is {better:.0%} lower"))
    times = sorted(result.nanoseconds)
    p50, p99 = (times[int(len(times) * part)] / 1000 for part in (0.5, 0.99))
    print(f"time per step: p50 {p50:.1f} us, p99 {p99:.1f} us")


def chart(result: Replay, readings: list[tuple[datetime, float]]) -> str:
    """Forecast against truth over some days, as SVG."""
    end = HELD_OUT + timedelta(days=60)
    start = end - timedelta(days=SHOWN_DAYS)
    truth = {when: value for when, value in readings if start <= when < end}
    forecast = {when: value for when, value in sorted(result.forecasts.items()) if start <= when < end}
    title = "Sea surface temperature, Western Maine Shelf: forecast made six hours before"
    lines = [
        Line("truth", "#444", [when.timestamp() for when in truth], list(truth.values()), width=2.5),
        Line("forecast", "#d62728", [when.timestamp() for when in forecast], list(forecast.values())),
    ]
    return draw(lines, title, "°C")


def _convert() -> Model:
    import edgelstm

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forecaster.edgelstm"
        edgelstm.load(DATA / "forecaster.onnx").save(path)
        model = edgelstm.load(path)
    model.stream().step(0.0)  # compiles the machine, or reads it from the cache
    print(f"forecaster.onnx converted, ready after {time.perf_counter() - start:.1f} s")
    return model


def _heading() -> None:
    scores = f"{'error so far (RMSE): model':>27} {'last value':>11} {'yesterday':>10}"
    print(f"{'':16} {'forecast':>9} {'truth':>7}   {scores}")


def _line(target: datetime, forecast: float, truth: float, result: Replay) -> None:
    model, last, yesterday = (result.scores[name].rmse for name in NAMES)
    values = f"{forecast:8.2f}° {truth:6.2f}°   {model:27.3f} {last:11.3f} {yesterday:10.3f}"
    print(f"{target:%Y-%m-%d %H:%M} {values}", flush=True)
