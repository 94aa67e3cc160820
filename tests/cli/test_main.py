"""What all commands share: exit codes, one sentence for an error, nothing heavy loaded for help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgelstm.cli import COMMANDS
from tests.cli.support import assert_one_sentence, call, saved

DATA = Path(__file__).resolve().parents[2] / "edgelstm" / "cli" / "demo_data"


@pytest.mark.parametrize("code", ["import edgelstm", "from edgelstm.cli import main; main(['--help'])"])
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    script = f"""
import sys
try:
    {code}
except SystemExit:
    pass
heavy = {{"numba", "llvmlite", "numpy", "onnx", "torch", "onnxruntime"}} & set(sys.modules)
print(sorted(heavy), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        code, out, _ = call(capsys, name, "--help")
        assert code == 0
        assert out.startswith(f"usage: edgelstm {name}")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["inspect"],
        ["inspect", "missing.edgelstm"],
        ["inspect", "missing.onnx"],
        ["inspect", "missing.txt"],
        ["run", "missing.edgelstm"],
        ["bench", "missing.edgelstm"],
        ["convert", "missing.onnx"],
        ["compare", "missing.onnx", "--against", "onnxruntime"],
        ["compare", "missing.onnx"],
        ["demo", "--every", "often"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_sentence_and_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert_one_sentence(err)


@pytest.mark.parametrize("suffix", [".edgelstm", ".onnx", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"not a model at all" * 10])
def test_wrong_file_is_one_sentence_and_exit_2(
    tmp_path: Path, suffix: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    code, _, err = call(capsys, "inspect", path)
    assert code == 2
    assert_one_sentence(err)
    assert str(path) in err


@pytest.mark.parametrize("name", ["m.edgelstm", "forecaster.onnx"])
def test_truncated_model_is_one_sentence_and_exit_2(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = saved(tmp_path) if name == "m.edgelstm" else DATA / name
    path = tmp_path / f"cut-{name}"
    path.write_bytes(whole.read_bytes()[:-100])
    code, _, err = call(capsys, "inspect", path)
    assert code == 2
    assert_one_sentence(err)


def test_directory_as_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.edgelstm").mkdir()
    code, _, err = call(capsys, "inspect", tmp_path / "d.edgelstm")
    assert code == 2
    assert_one_sentence(err)


@pytest.mark.parametrize("pair", ["h0", "=hn", "h0=", "h0=hn"])
def test_states_that_do_not_fit(tmp_path: Path, pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "inspect", saved(tmp_path), "--states", pair)
    assert code == 2
    assert_one_sentence(err)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[{]", "print(1)", "[" * 5000])
def test_layers_that_are_no_list_of_objects(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    layers = tmp_path / "layers.json"
    layers.write_text(content)
    code, _, err = call(capsys, "inspect", saved(tmp_path), "--layers", layers)
    assert code == 2
    assert_one_sentence(err)
    assert str(layers) in err


def test_reader_that_goes_away(tmp_path: Path) -> None:
    path = saved(tmp_path, inputs=1)
    command = [sys.executable, "-m", "edgelstm", "run", str(path)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("1\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.stdout.close()
    process.stdin.write("1\n")
    process.stdin.flush()
    process.stdout = None  # communicate() must not look at it again
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (141, "")
