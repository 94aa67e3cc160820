"""What the documentation says works: marked examples run, links lead somewhere, make knows the commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import require_module, require_program

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
RUNNABLE = re.compile(r"<!-- runnable -->\n```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def examples() -> list[object]:
    found = []
    for document in DOCUMENTS:
        for match in RUNNABLE.finditer(document.read_text(encoding="utf-8")):
            line = document.read_text(encoding="utf-8")[: match.start()].count("\n") + 2
            found.append(pytest.param(*match.groups(), id=f"{document.relative_to(ROOT)}:{line}"))
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that examples name, and a program called edgelstm."""
    data = tmp_path / "edgelstm" / "cli" / "demo_data"
    shutil.copytree(ROOT / "edgelstm" / "cli" / "demo_data", data)
    program = tmp_path / "bin" / "edgelstm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgelstm "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(("language", "text"), examples())
def test_example_runs(language: str, text: str, checkout: Path) -> None:
    require_module("onnx")
    command = [sys.executable, "-c", text] if language == "python" else ["sh", "-eu", "-c", text]
    places = [str(ROOT), str(ROOT / "converters")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONSAFEPATH": "1",
        "PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_examples_are_found() -> None:
    assert len(examples()) >= 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("target", ["demo", "test", "soak", "bench", "lint"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run([require_program("make"), "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readme_and_makefile_say_the_same() -> None:
    """The commands without make are those that make runs."""
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for command in ('-e ".[jit,onnx]"', '-e ".[all,dev]"', "-m edgelstm demo", '-m pytest -m "not slow"'):
        assert command in readme
        assert command in makefile
