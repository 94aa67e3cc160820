"""`edgelstm demo`: both naive forecasts are beaten, and the chart is there."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edgelstm.cli import demo
from edgelstm.cli.chart import Line, draw
from tests.cli.support import call
from tests.support import require_module

SVG = "{http://www.w3.org/2000/svg}"


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnx")
    out = tmp_path / "demo.svg"
    code, text, _ = call(capsys, "demo", "--out", out)
    assert code == 0
    errors = {name: float(value) for name, value in re.findall(r"^  (.+?) +([\d.]+) °C", text, re.MULTILINE)}
    assert set(errors) == set(demo.NAMES)
    assert errors["model"] < 0.9 * errors["last value"]
    assert errors["model"] < 0.7 * errors["same time yesterday"]
    assert "time per step: p50" in text
    paths = ET.parse(out).getroot().findall(f"{SVG}path[@fill='none']")
    assert len(paths) == 2  # truth and forecast
    assert all(len(path.get("d", "")) > 1000 for path in paths)


def test_forecasts_do_not_see_what_comes_after(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_module("onnx")
    model = demo._convert()
    readings = list(demo.read())
    start = next(index for index, (when, _) in enumerate(readings) if when >= demo.HELD_OUT)
    part = readings[start - 500 : start + 100]
    changed = [(when, value + 5 * (index >= 550)) for index, (when, value) in enumerate(part)]
    first, second = (demo.replay(model, feed, 1).forecasts for feed in (part, changed))
    same = [when for when in first if first[when] == second[when]]
    assert len(same) == 50  # those made before the change
    assert max(same) == part[549][0] + demo.AHEAD


def test_chart_breaks_lines_at_gaps_and_nan() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 50.0, 51.0, 52.0]
    values = [1.0, 2.0, math.nan, 3.0, 4.0, 5.0, 6.0]
    root = ET.fromstring(draw([Line("a < b & c", "red", times, values)], "title <&>", "°C"))
    (path,) = root.findall(f"{SVG}path[@fill='none']")
    assert path.get("d", "").count("M") == 3
    assert any(text.text == "a < b & c" for text in root.findall(f"{SVG}text"))


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 1e-9], [-1e6, 1e6], [-0.5, 0.5]])
def test_chart_stays_inside(values: list[float]) -> None:
    root = ET.fromstring(draw([Line("a", "red", [0.0, 86_400.0 * 30], values)], "t", "u"))
    for path in root.findall(f"{SVG}path"):
        numbers = [float(text) for text in re.findall(r"-?[\d.]+", path.get("d", ""))]
        assert all(0 <= x <= 960 for x in numbers[::2])
        assert all(0 <= y <= 360 for y in numbers[1::2])


def test_chart_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw([Line("a", "red", [0.0], [math.nan])], "t", "u")
