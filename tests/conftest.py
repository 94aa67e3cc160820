"""Settings of every test.

`make test` draws the same random examples every time, so that a failure is never a matter of luck; `make soak` sets
EDGELSTM_SOAK and draws new ones, ten times as many where a test does not say how many.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

settings.register_profile("test", deadline=None, derandomize=True, suppress_health_check=CHECKS)
settings.register_profile("soak", deadline=None, max_examples=1000, suppress_health_check=CHECKS)
settings.load_profile("soak" if os.environ.get("EDGELSTM_SOAK") else "test")
