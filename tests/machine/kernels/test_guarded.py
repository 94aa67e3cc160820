from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("rounds", [150, pytest.param(20000, marks=pytest.mark.slow)])
def test_damaged_rows_are_refused_or_stay_within_their_arenas(rounds: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.machine.kernels.guarded", str(rounds)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    ran, refused, missing = done.stdout.split(" ", 2)
    assert int(ran) > rounds
    assert int(refused) > rounds
    assert missing.strip() == "[]"


def test_a_touch_beyond_the_arena_is_noticed() -> None:
    script = (
        "import numpy as np\nfrom tests.machine.kernels.guarded import Guarded\nimport ctypes\n"
        "kept = Guarded(np.zeros(40, np.float32), True)\n"
        "ctypes.c_float.from_address(kept.words.ctypes.data + 160).value"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True).returncode < 0
