"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "numba", "llvmlite", "onnxruntime", "ai-edge-litert")


def describe() -> dict[str, str]:
    """CPU, cores, governor and versions."""
    return {
        "cpu": _cpu_name(),
        "cores": str(os.cpu_count()),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        **{name: _version(name) for name in PACKAGES},
    }


def _cpu_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
