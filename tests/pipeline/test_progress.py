"""Progress is for people: a terminal on standard error, a file of some length as the source."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgelstm.pipeline import progress
from edgelstm.runtime.model import Model
from tests.runtime import models

pytest.importorskip("numba")
ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = """
import sys
from edgelstm.cli import main
from edgelstm.pipeline import progress
progress._EVERY = 0.0
sys.exit(main(sys.argv[1:]))
"""


class Screen:
    def __init__(self, watched):
        self.watched, self.text = watched, ""

    def isatty(self):
        return self.watched

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize(("watched", "shown", "pipe"), [(1, 1, 0), (0, 0, 0), (1, 0, 1)])
def test_it_is_shown_on_a_terminal_for_a_file(tmp_path, monkeypatch, watched, shown, pipe):
    screen, now = Screen(bool(watched)), [100.0]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", Screen(False))
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    path = tmp_path / "long"
    path.write_bytes(b"x" * 4_000_000)
    read, write = os.pipe()
    with path.open("rb", buffering=0) as file, os.fdopen(read, "rb") as other:
        told = progress.Progress(other if pipe else file)
        file.read(1_000_000)
        told.show(1)
        assert not screen.text
        now[0] = 110.0
        told.show(5000)
        told.show(6000)
        told.close()
    os.close(write)
    line = "\r\x1b[K25% of 4.0 MB, 500 readings/s, 30 s left\r\x1b[K"
    assert screen.text == (line if shown else "")


@pytest.mark.parametrize("command", ["run", "serve"])
def test_the_commands_tell_how_far_they_are(tmp_path, command):
    """On a pseudo terminal, at once instead of after half a second."""
    path, source = tmp_path / "m.edgelstm", tmp_path / "long.csv"
    Model(models.forecaster()).save(path)
    source.write_text("a,b,c\n" + "1,2,3\n" * 20_000)
    more = [
        "--model-path",
        str(path),
        "--model-features",
        "a,b,c",
        "--input-format",
        "csv",
        "--input-file",
        str(source),
    ]
    more = [str(path)] if command == "run" else more
    main, terminal = pty.openpty()
    with source.open("rb") as readings:
        process = subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, command, *more],
            cwd=ROOT,
            stdin=readings,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
        )
        os.close(terminal)
        text = b""
        try:
            while piece := os.read(main, 4096):
                text += piece
        except OSError:  # the other end is closed
            pass
        assert process.wait(300) == 0
    os.close(main)
    parts = [int(part) for part in re.findall(rb"(\d+)% of 0.1 MB", text)]
    assert parts == sorted(parts)
    assert parts
    assert b"\x1b[K" in text.rpartition(b"readings/s")[2]
