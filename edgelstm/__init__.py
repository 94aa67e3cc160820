"""Recurrent networks on CPUs and edge devices: load, run, and stream one reading at a time."""

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
from edgelstm.runtime.load import from_arrays, load
from edgelstm.runtime.model import Model
from edgelstm.runtime.stream import Stream
from edgelstm.version import VERSION

__version__ = VERSION

__all__ = [
    "DependencyError",
    "EdgeLSTMError",
    "FormatError",
    "InputError",
    "Model",
    "ProgramError",
    "StateError",
    "Stream",
    "StreamError",
    "UnsupportedError",
    "__version__",
    "from_arrays",
    "load",
]
