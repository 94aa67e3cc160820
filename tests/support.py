"""What tests need from the machine. What is missing skips a test by name; under CI it fails the test."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

import pytest


def require_program(name: str) -> str:
    """The path of a system program."""
    return shutil.which(name) or _missing(f"the program {name!r} is not installed")


def require_module(name: str) -> ModuleType:
    """A package of one of the extras."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _missing(f"the package {name!r} is not installed")


def wait_for(condition: Callable[[], object], told: Callable[[], object] = str) -> None:
    """Until it holds, however loaded the machine is; `told` says what there was where it never does."""
    end = time.monotonic() + 300
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited in vain: {str(told())[-2000:]}")
        time.sleep(0.02)


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and under CI nothing is skipped for that", pytrace=False)
    pytest.skip(what, allow_module_level=True)
