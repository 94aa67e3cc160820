"""What tests need from the machine. What is missing skips a test by name; under CI it fails the test."""

from __future__ import annotations

import importlib
import os
import shutil
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


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and under CI nothing is skipped for that", pytrace=False)
    pytest.skip(what, allow_module_level=True)
