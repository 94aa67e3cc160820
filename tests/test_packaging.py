"""What is in the wheel, what it asks for, and that it works where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import edgelstm
from tests.support import require_module

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_module("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path, contents: set[str]) -> Message:
    (name,) = (name for name in contents if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(name).decode())


def test_top_level_names(contents: set[str]) -> None:
    names = {name.partition("/")[0] for name in contents}
    assert names == {"edgelstm", "edgelstm_converters", f"edgelstm-{edgelstm.__version__}.dist-info"}


def test_every_module_is_in_the_wheel(contents: set[str]) -> None:
    for folder, base in ((ROOT / "edgelstm", ROOT), (ROOT / "converters" / "edgelstm_converters", ROOT / "converters")):
        modules = {path.relative_to(base).as_posix() for path in folder.rglob("*.py")}
        assert modules <= contents


def test_data_and_licence_are_in_the_wheel(contents: set[str]) -> None:
    for name in ("forecaster.onnx", "sea_surface_temperature.csv.gz", "README.md"):
        assert f"edgelstm/cli/demo_data/{name}" in contents
    assert any(name.endswith("licenses/LICENSE") for name in contents)
    assert "edgelstm/py.typed" in contents


def test_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 1 << 20


def test_dependencies(metadata: Message) -> None:
    always = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert {line.partition(">")[0] for line in always} == {"numpy", "safetensors"}
    assert {"jit", "onnx", "torch", "compare", "all"} <= set(metadata.get_all("Provides-Extra", []))
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Version"] == edgelstm.__version__


def test_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    require_module("onnx")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    script = """
import edgelstm
from edgelstm.cli import demo
edgelstm.load(demo.DATA / "forecaster.onnx").save("m.edgelstm")
print(edgelstm.__file__, len(list(demo.read())), edgelstm.load("m.edgelstm").metadata["features"], sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    place, readings, features = done.stdout.strip().split("|")
    assert Path(place).is_relative_to(site)
    assert (readings, features) == ("19226", "temperature (celsius)")


def test_each_ruff_exception_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = lines.index("ignore = [")
    rules = lines[start + 1 : lines.index("]", start)]
    assert len(rules) > 10
    assert [rule for rule in rules if "#" not in rule] == []


def test_all_brings_every_extra_for_users() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = [name for name in extras if name not in {"all", "dev", "bench"}]
    assert extras["all"] == [f"edgelstm[{','.join(names)}]"]
