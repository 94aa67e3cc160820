"""The water main of examples/water_flow: forecasts, scores, its four anomalous segments, missing hours held."""

import csv
import io
import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("numba")
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "water_flow"
KNOWN = ["2022-03-24", "2022-03-29", "2022-04-03", "2022-04-27"]


@pytest.fixture(scope="module")
def served():
    command = [sys.executable, "-m", "edgelstm", "serve", "--config", "serve.toml", "--operation-log", "json"]
    done = subprocess.run(
        command,
        input=(FOLDER / "water_flow.csv").read_bytes(),
        capture_output=True,
        cwd=FOLDER,
        check=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'converters'}", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    return rows, json.loads(done.stderr.splitlines()[-1])


def test_the_four_segments_are_found_and_no_other(served):
    rows, _ = served
    flagged = [datetime.fromisoformat(row["Time"]) for row in rows if row["anomaly"] == "1.0"]
    starts = [
        b
        for a, b in zip([flagged[0] - timedelta(days=9), *flagged], flagged, strict=False)
        if b - a > timedelta(days=2)
    ]
    assert [start.date().isoformat() for start in starts] == KNOWN


def test_missing_hours_are_held_and_a_long_gap_starts_anew(served):
    rows, counts = served
    assert len(rows) == 1268
    assert (counts["missing"], counts["filled"], counts["reset"]) == (111, 80, 1)


def test_forecasts_beat_no_change_on_calm_weeks(served):
    rows, _ = served
    flow = [float(row["Water flow [l/s]"]) for row in rows]
    forecast = [float(row["forecast"]) for row in rows]
    calm = [n for n, row in enumerate(rows[:-1]) if row["Time"] > "2022-04-29" and row["Time"] < "2022-05-10"]
    ours = sum(abs(forecast[n] - flow[n + 1]) for n in calm)
    naive = sum(abs(flow[n] - flow[n + 1]) for n in calm)
    assert ours < 0.8 * naive
