"""Threads that share every call, whatever it costs: on a loaded machine with two processors, too."""

from __future__ import annotations

import threading
import time

import pytest

from edgelstm.machine import team, threshold

FREE = threshold.Costs(wake=1e-9, hand_over=1e-9, near=1.0, far=1.0)


@pytest.fixture
def eager(monkeypatch):
    """As if this machine had four processors, and waking a thread cost nothing."""
    monkeypatch.setattr(team, "processors", lambda: 4)
    monkeypatch.setattr(threshold, "costs", lambda _compiled: FREE)


def helpers():
    """The threads of teams that live."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("edgelstm-")]


def wait_until(condition, seconds=20.0):
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()
