"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *("numpy", "numba", "llvmlite", "onnxruntime", "ai-edge-litert", "torch", "openvino", "ncnn", "tract"),
    *("onnx", "matplotlib"),
)
# Bits of `vcgencmd get_throttled`, as the Raspberry Pi documentation lists them.
THROTTLED = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "frequency was capped",
    18: "throttling has occurred",
    19: "soft temperature limit was reached",
}


def describe() -> dict[str, str]:
    """CPU, cores, governor, load and versions; the board where the system names one."""
    board = {"board": name} if (name := _read("/proc/device-tree/model").rstrip("\0")) else {}
    return {
        **board,
        "cpu": _cpu_name(),
        "cores": str(os.cpu_count()),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "load before": f"{os.getloadavg()[0]:.1f} (processes that ran or waited, last minute)",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": sys.version.split()[0],
        "edgelstm": _own_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def condition() -> dict[str, object]:
    """What changes under way: frequency in MHz, temperature in °C, throttle flags; None where nothing tells them."""
    flags = _throttled()
    return {
        "mhz": _number("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "celsius": _number("/sys/class/thermal/thermal_zone0/temp"),
        "throttled": None if flags is None else hex(flags),
        "throttle_flags": None if flags is None else [name for bit, name in THROTTLED.items() if flags >> bit & 1],
    }


def _throttled() -> int | None:
    """From the firmware's tool, else from the kernel's file."""
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=True)
        text = done.stdout.strip().partition("=")[2]
    except (OSError, subprocess.SubprocessError):
        text = _read("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return int(text, 16)
    except ValueError:
        return None


def _number(path: str) -> float | None:
    """A file of thousandths."""
    try:
        return int(_read(path)) / 1000
    except ValueError:
        return None


def _cpu_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _own_version() -> str:
    """With the commit where this is a checkout."""
    from edgelstm.version import __version__

    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} ({done.stdout.strip()})"


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
