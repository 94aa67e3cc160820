"""`edgelstm quantize`, and the difference by step that `edgelstm compare --stream` draws."""

import gzip
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.cli import main
from edgelstm.cli.drift import BAR, Drift, as_svg, as_text, edges

pytest.importorskip("onnx")

DATA = Path(edgelstm.__file__).parent / "cli" / "demo_data"
MODEL = DATA / "forecaster.onnx"


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    path = tmp_path_factory.mktemp("readings") / "sst.csv"
    lines = gzip.decompress((DATA / "sea_surface_temperature.csv.gz").read_bytes()).decode().splitlines()
    path.write_text("\n".join(lines[:1500]) + "\n")
    return path


@pytest.fixture(scope="module")
def quantized(readings):
    path = readings.with_name("q.edgelstm")
    assert main(["quantize", str(MODEL), "--calibrate", str(readings), "--objective", "size", "-o", str(path)]) == 0
    return path


def test_the_report_and_the_file(readings, tmp_path, capsys):
    path = tmp_path / "q.edgelstm"
    arguments = ["quantize", str(MODEL), "--calibrate", str(readings), "--objective", "size", "-o", str(path), "--json"]
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["file_bytes"] == path.stat().st_size
    (output,) = facts["outputs"]
    assert 0 < output["error"]["max"] <= output["allowed"]["max"]
    assert 0 < output["error"]["rms"] <= output["allowed"]["rms"]
    assert {entry["kept"] for entry in facts["entries"]} <= {"int8", "int8 weights"}
    assert edgelstm.load(path).graph.scales


def test_readings_as_an_array(readings, quantized, tmp_path):
    column = np.loadtxt(readings, delimiter=",", skiprows=1, usecols=1)
    np.save(tmp_path / "xs.npy", column[:, None])
    path = tmp_path / "q.edgelstm"
    arguments = ["--calibrate", str(tmp_path / "xs.npy"), "--objective", "size", "-o", str(path)]
    assert main(["quantize", str(MODEL), *arguments]) == 0
    assert path.read_bytes() == quantized.read_bytes()


def test_the_difference_by_step(quantized, tmp_path, capsys):
    chart = tmp_path / "drift.svg"
    arguments = ["compare", str(quantized), "--against", str(MODEL), "--stream", "--steps", "1000"]
    assert main([*arguments, "--tolerance", "0.5", "--chart", str(chart)]) == 0
    text = capsys.readouterr().out
    assert "501 to 1000" in text
    assert ET.parse(chart).getroot().tag.endswith("svg")
    assert main([*arguments, "--tolerance", "1e-6"]) == 1


def test_no_difference_is_a_picture_too(tmp_path, capsys):
    chart = tmp_path / "drift.svg"
    arguments = ["compare", str(MODEL), "--against", str(MODEL), "--stream", "--steps", "10", "--chart", str(chart)]
    assert main(arguments) == 0
    assert "within the tolerance" in capsys.readouterr().out
    assert "no difference at any step" in "".join(ET.parse(chart).getroot().itertext())


def test_differences_without_bounds():
    drift = Drift("y", [1, 2, 5], [0.5, math.inf, math.nan], [0.5, math.inf, math.nan])
    assert [line.count("#") for line in as_text(drift).splitlines()] == [0, BAR, BAR, BAR]
    drift = Drift("y", [1], [math.inf], [math.inf])
    assert "no finite difference" in as_svg([drift], "a")


def test_ranges_of_steps():
    assert edges(1) == [1]
    assert edges(60) == [1, 2, 5, 10, 20, 50, 60]
    assert edges(1000)[-3:] == [200, 500, 1000]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "q.onnx"], "expected a name that ends in .edgelstm"),
        (["--calibrate", "missing.csv"], "missing.csv: No such file"),
        (["--activations", "calibrated"], "needs calibration data"),
        (["--target", "pi9"], "target: expected native or one of"),
    ],
)
def test_bad_input(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["quantize", str(MODEL), "-o", str(tmp_path / "q.edgelstm"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_csv_with_too_many_columns(capsys, tmp_path):
    (tmp_path / "x.csv").write_text("1,2\n3,4\n")
    arguments = ["--calibrate", str(tmp_path / "x.csv"), "-o", str(tmp_path / "q.edgelstm")]
    assert main(["quantize", str(MODEL), *arguments]) == 2
    assert "expected 1 columns (temperature (celsius)), got 2" in capsys.readouterr().err


def test_columns_of_another_name(readings, quantized, tmp_path, capsys):
    """By name where there is a header, by number where there is none; without, the message says how."""
    lines = [line.split(",")[1] for line in readings.read_text().splitlines()[1:]]
    table = tmp_path / "t.csv"
    path = tmp_path / "q.edgelstm"
    arguments = ["quantize", str(MODEL), "--calibrate", str(table), "--objective", "size", "-o", str(path)]
    table.write_text("n,water\n" + "".join(f"{n},{line}\n" for n, line in enumerate(lines)))
    assert main(arguments) == 2
    assert "with --columns" in capsys.readouterr().err
    assert main([*arguments, "--columns", "water"]) == 0
    assert path.read_bytes() == quantized.read_bytes()
    table.write_text("".join(f"{n},{line}\n" for n, line in enumerate(lines)))
    assert main([*arguments, "--columns", "2"]) == 0
    assert path.read_bytes() == quantized.read_bytes()
    assert main([*arguments, "--columns", "3"]) == 2
    assert "expected column numbers from 1 to 2; got '3'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\n1\n1\n", "column 0 is 1.0 in every reading"),
        ("1\nnan\n", "expected finite numbers, got nan at row 1, column 0"),
        ("", "is empty"),
    ],
)
def test_readings_that_do_not_fit(rows, message, capsys, tmp_path):
    (tmp_path / "x.csv").write_text("temperature (celsius)\n" + rows)
    arguments = ["--calibrate", str(tmp_path / "x.csv"), "-o", str(tmp_path / "q.edgelstm")]
    assert main(["quantize", str(MODEL), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_stream_is_not_compared_with_onnxruntime(capsys, quantized):
    assert main(["compare", str(MODEL), "--against", "onnxruntime", "--stream"]) == 2
    assert "expected --against OTHER" in capsys.readouterr().err
