"""Recurrent networks on CPUs and edge devices: load, run, and stream one reading at a time."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgelstm.errors import (
    DependencyError,
    EdgeLSTMError,
    FormatError,
    InputError,
    ProgramError,
    StateError,
    StreamError,
    UnsupportedError,
)
from edgelstm.version import __version__

if TYPE_CHECKING:
    from edgelstm.heads.crf import CRF
    from edgelstm.heads.ctc import CTC
    from edgelstm.heads.generate import Generated, generate
    from edgelstm.heads.samplers import Beam, Greedy, Temperature, TopK
    from edgelstm.quantization.quantize import quantize, quantize_reported
    from edgelstm.runtime.load import from_arrays, from_module, load
    from edgelstm.runtime.model import Model
    from edgelstm.runtime.pool import Pool
    from edgelstm.runtime.scaling import with_scaling
    from edgelstm.runtime.store import StateStore
    from edgelstm.runtime.stream import Stream

__all__ = [
    "CRF",
    "CTC",
    "Beam",
    "DependencyError",
    "EdgeLSTMError",
    "FormatError",
    "Generated",
    "Greedy",
    "InputError",
    "Model",
    "Pool",
    "ProgramError",
    "StateError",
    "StateStore",
    "Stream",
    "StreamError",
    "Temperature",
    "TopK",
    "UnsupportedError",
    "__version__",
    "from_arrays",
    "from_module",
    "generate",
    "load",
    "quantize",
    "quantize_reported",
    "with_scaling",
]

# Loaded at the first use: NumPy is most of the time that an import takes, and `edgelstm --help` needs none of it.
_HOMES = {
    "Beam": "edgelstm.heads.samplers",
    "CRF": "edgelstm.heads.crf",
    "CTC": "edgelstm.heads.ctc",
    "Generated": "edgelstm.heads.generate",
    "Greedy": "edgelstm.heads.samplers",
    "Model": "edgelstm.runtime.model",
    "Pool": "edgelstm.runtime.pool",
    "StateStore": "edgelstm.runtime.store",
    "Stream": "edgelstm.runtime.stream",
    "Temperature": "edgelstm.heads.samplers",
    "TopK": "edgelstm.heads.samplers",
    "from_arrays": "edgelstm.runtime.load",
    "from_module": "edgelstm.runtime.load",
    "generate": "edgelstm.heads.generate",
    "load": "edgelstm.runtime.load",
    "quantize": "edgelstm.quantization.quantize",
    "quantize_reported": "edgelstm.quantization.quantize",
    "with_scaling": "edgelstm.runtime.scaling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgelstm' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
