"""`edgelstm bench`: that it measures and tells what a figure depends on. Never how fast."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import assert_one_sentence, call, saved


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "bench", saved(tmp_path), "--steps", 200, "--warm-up", 10, "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["steps"], facts["warm_up_steps"]) == (200, 10)
    assert 0 < facts["best_us"] <= facts["p50_us"] <= facts["p99_us"] <= facts["p99_9_us"]
    assert facts["weight_bytes"] == 4 * (16 * 3 + 16 * 4 + 32 + 2 * 4 + 2)
    assert facts["state_bytes"] == 4 * (4 + 4)
    assert facts["peak_memory_mb"] > 10
    assert {"processor", "governor", "python", "packages"} <= set(facts["machine"])


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "bench", saved(tmp_path), "--steps", 50)
    assert code == 0
    names = [line.partition("  ")[0] for line in out.splitlines()]
    assert names[:3] == ["p50", "p99", "p99.9"]
    assert {"load", "first step", "warm-up", "peak memory", "machine"} <= set(names)


@pytest.mark.parametrize("arguments", [("--steps", 0), ("--warm-up", -1)])
def test_too_few_steps(tmp_path: Path, arguments: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "bench", saved(tmp_path), *arguments)
    assert code == 2
    assert_one_sentence(err)
