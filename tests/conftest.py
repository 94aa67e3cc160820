"""Settings of every test.

`make test` draws the same random examples every time, so that a failure is never a matter of luck; `make soak` sets
EDGELSTM_SOAK and draws new ones, and more of them.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

settings.register_profile("test", deadline=None, derandomize=True, suppress_health_check=CHECKS)
settings.register_profile("soak", deadline=None, suppress_health_check=CHECKS)
settings.load_profile("soak" if os.environ.get("EDGELSTM_SOAK") else "test")
