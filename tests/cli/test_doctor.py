"""`edgelstm doctor` and `edgelstm warmup`."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from edgelstm.cli import doctor, selftest
from edgelstm.machine.compiled import NUMBA
from edgelstm.runtime import executors
from edgelstm.runtime.model import Model
from edgelstm.runtime.store import StateStore
from tests.cli.support import call
from tests.runtime import models
from tests.support import require_module


def findings(out: str) -> dict[str, dict[str, str]]:
    return {finding["subject"]: finding for finding in json.loads(out)["findings"]}


def test_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    require_module("numba")
    code, out, _ = call(capsys, "doctor", "--json")
    found = findings(out)
    assert code == 0
    assert {"python", "numpy", "numba", "processor", "features", "cache", "machine", "self-test"} <= set(found)
    assert found["self-test"]["level"] == "ok"
    assert "owned by" in found["cache"]["text"]


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "doctor")
    assert code == 0
    assert any(line.startswith("ok    self-test") for line in out.splitlines())


def test_failing_self_test_is_exit_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(selftest, "run", lambda: selftest.SelfTest("compiled", 0.5))
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == 1
    assert findings(out)["self-test"]["level"] == "fail"


def test_cache_directory_that_others_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_module("numba")
    open_to_all = tmp_path / "cache"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(open_to_all))
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == 0
    assert findings(out)["NUMBA_CACHE_DIR"]["level"] == "note"


def test_self_test_sees_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert selftest.run().passed
    assert not selftest.SelfTest("compiled", float("inf")).passed


def test_a_store_tells_what_it_writes_a_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = Model(models.forecaster()).pool(capacity=2)
    pool.step(["a", "b"], models.readings(2))
    with StateStore(tmp_path / "s.db") as store:
        store.checkpoint(pool)
        expected = store.wear().bytes_a_day
    _, out, _ = call(capsys, "doctor", "--json", "--state", tmp_path / "s.db")
    assert f"1 checkpoints, {expected:,.0f} bytes of states and messages a day" in findings(out)["state"]["text"]
    code, out, _ = call(capsys, "doctor", "--json", "--state", tmp_path / "none.db")
    assert (code, findings(out)["state"]["level"]) == (1, "fail")


def test_warmup(capsys: pytest.CaptureFixture[str]) -> None:
    require_module("numba")
    code, out, _ = call(capsys, "warmup")
    assert code == 0
    assert out.splitlines()[1].startswith("cache: ")


def test_warmup_without_numba(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("edgelstm.cli.warmup.find_spec", lambda name: None)
    code, _, err = call(capsys, "warmup")
    assert code == 2
    assert "edgelstm[jit]" in err


@pytest.mark.parametrize(
    ("version", "level"),
    [("0.61.2", "note"), ("0.62.0", "ok"), ("0.68.1", "ok"), ("0.69.0rc1", "note"), ("1.0", "note")],
)
def test_versions_of_numba_that_were_not_tried_are_noted(version: str, level: str) -> None:
    assert doctor._numba(version).level == level


def test_the_package_asks_for_the_oldest_numba_that_works() -> None:
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    asked = {one for extra in extras.values() for one in extra if one.startswith("numba")}
    assert asked == {f"numba>={NUMBA[0]}"}


def test_compiling_function_by_function_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    require_module("numba")
    compiled = replace(executors.installed_machine(), piecemeal="AttributeError: set_env", directory=Path("/"))
    monkeypatch.setattr(executors, "installed_machine", lambda: compiled)
    found = doctor._machine()[-1]
    assert found.level == "note"
    assert "function by function" in found.text
    assert "set_env" in found.text
