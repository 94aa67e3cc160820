"""What docs/serve.md tells to copy: run as it stands there."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgelstm.pipeline.config import make_config
from edgelstm.runtime.model import Model
from tests.runtime import models
from tests.support import require_program

pytest.importorskip("numba")
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def block(kind, holds):
    (found,) = [text for language, text in BLOCKS if language == kind and holds in text]
    return found


def test_telegraf_runs_it_as_a_processor(tmp_path):
    """Metrics go in and come out as lines; measurement, tags, timestamp and other fields as they were."""
    path = tmp_path / "model.edgelstm"
    Model(models.forecaster()).save(path)
    (command,) = [one["command"] for one in tomllib.loads(block("toml", "execd"))["processors"]["execd"]]
    config = tmp_path / "edgelstm.toml"
    config.write_text(block("toml", 'format = "influx"').replace("/etc/edgelstm/model.edgelstm", str(path)))
    assert command[0] == "edgelstm"
    program = [sys.executable, "-m", *command[:-1], str(config)]
    process = subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    streams, given, names = {}, [], tomllib.loads(config.read_text())["model"]["features"]
    try:
        for number in range(6):
            series = f"engine,site=north\\ hall,unit={number % 2}"
            values = [number * 0.25, 1.0, -0.5]
            fields = ",".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
            given.append((f'{series} {fields},note="as, it = was"', f"{1_700_000_000_000_000_000 + number}"))
            process.stdin.write(" ".join(given[-1]).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline().decode()  # each is answered at once, as execd needs
            stream = streams.setdefault(series, Model(models.forecaster()).stream())
            told = ",".join(f"y{n}={float(y)!r}" for n, y in enumerate(stream.step(values)))
            assert line == f"{given[-1][0]},{told} {given[-1][1]}\n"
    finally:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def test_the_unit_is_sound(tmp_path):
    unit, program = block("ini", "[Service]"), tmp_path / "edgelstm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "edgelstm.service"
    path.write_text(unit.replace("/opt/edgelstm/bin/edgelstm", str(program)))
    done = subprocess.run(
        [require_program("systemd-analyze"), "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to" in done.stderr and "edgelstm" not in done.stderr:
        pytest.skip(f"systemd-analyze does not work here: {done.stderr.strip()}")
    assert "edgelstm.service" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_container_starts_what_there_is(tmp_path):
    """The entry point's flags, the signal, and a health check that tells a fresh file from an old one."""
    text = block("dockerfile", "FROM").replace("\\\n", " ")
    rows = [row.split(None, 1) for row in text.splitlines()]
    told = dict(rows)
    entry = json.loads(told["ENTRYPOINT"])
    config = {entry[n].removeprefix("--").replace("-", "_"): entry[n + 1] for n in range(2, len(entry), 2)}
    assert entry[:2] == ["edgelstm", "serve"]
    assert config.pop("config").startswith("/etc/")
    health = make_config({"model_path": "m", **config}).operation_health
    check = told["HEALTHCHECK"].removeprefix("CMD ")
    assert health in check
    fresh = tmp_path / "health"
    for age, code in ((0, 0), (60, 1)):
        subprocess.run(["touch", "-d", f"{age} seconds ago", str(fresh)], check=True)
        assert subprocess.run(["sh", "-c", check.replace(health, str(fresh))], check=False).returncode == code
    assert told["STOPSIGNAL"] == "SIGTERM"
    assert "edgelstm[jit,mqtt,metrics]" in shlex.split(dict(rows)["RUN"])


def test_settings_on_the_page_are_those_there_are():
    """Every [section] of an example is read, and every name in the text is a setting."""
    from edgelstm.pipeline.config import Config, setting_name

    names = {".".join(setting_name(name)) for name in Config.__dataclass_fields__}
    sections = {name.partition(".")[0] for name in names}
    for kind, text in BLOCKS:
        if kind == "toml" and "processors" not in text:
            given = {f"{part}.{name}" for part, rows in tomllib.loads(text).items() for name in rows}
            assert given <= names
    told = set(re.findall(r"`([a-z]+\.[a-z-]+)(?: = [^`]*)?`", PAGE))
    assert {name for name in told if name.partition(".")[0] in sections} <= names | {"state.db"}
