"""What a thread costs: measured once, kept in a file, and what is decided by it."""

import json

import pytest

from edgelstm.machine import team, threshold

COSTS = threshold.Costs(wake=20.0, hand_over=1.0, near=200_000.0, far=100_000.0)


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    from edgelstm.machine.jit import warmup

    monkeypatch.setenv("EDGELSTM_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    threshold.costs.cache_clear()
    yield warmup()
    threshold.costs.cache_clear()


@pytest.mark.parametrize(
    ("weight_bytes", "calls", "uses", "expected"),
    [
        (4 * 4 * 32 * 48, 1, 1, False),  # a step of LSTM 16→32
        (4 * 4 * 1024 * 1152, 1, 1, True),  # of LSTM 128→1024
        (4 * 4 * 512 * 640, 1, 1, False),  # of LSTM 128→512: saves less than waking costs
        (4 * 4 * 512 * 640, 100, 1, True),  # a hundred of them, one after the other
        (4 * 4 * 64 * 80, 1, 4096, True),  # 4096 streams of LSTM 16→64
        (4 * 4 * 64 * 80, 1, 32, False),
    ],
)
def test_what_is_worth_it(weight_bytes, calls, uses, expected):
    assert COSTS.worth(weight_bytes, calls, 2, uses) is expected


@pytest.mark.skipif(not team.possible(), reason="this system has no unnamed semaphores")
def test_costs_are_measured_once(compiled, tmp_path, monkeypatch):
    found = threshold.costs(compiled)
    assert all(value > 0 for value in (found.wake, found.hand_over, found.near, found.far))
    threshold.costs.cache_clear()
    monkeypatch.setattr(threshold, "measure", lambda _compiled: pytest.fail("measured again"))
    assert threshold.costs(compiled) == found
    assert [path.name for path in tmp_path.iterdir()] == [threshold.FILE]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"key": 3}', '{"other": {"wake": 1}}', "\x00"])
def test_a_file_that_says_nothing(compiled, tmp_path, monkeypatch, content):
    monkeypatch.setattr(threshold, "measure", lambda _compiled: COSTS)
    path = tmp_path / threshold.FILE
    path.write_text(content)
    assert threshold.costs(compiled) == COSTS
    assert list(json.loads(path.read_text()).values()) == [
        {"wake": 20.0, "hand_over": 1.0, "near": 200_000.0, "far": 100_000.0}
    ]


@pytest.mark.parametrize("value", [-1, 0, "x", None, float("nan")])
def test_costs_that_are_none(compiled, tmp_path, monkeypatch, value):
    monkeypatch.setattr(threshold, "measure", lambda _compiled: COSTS)
    path = tmp_path / threshold.FILE
    threshold.costs(compiled)
    content = json.loads(path.read_text())
    for kept in content.values():
        kept["wake"] = value
    path.write_text(json.dumps(content))
    threshold.costs.cache_clear()
    assert threshold.costs(compiled) == COSTS
