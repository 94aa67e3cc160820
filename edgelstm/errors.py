"""Everything that edgelstm refuses, as one small family under `EdgeLSTMError`.

Each message says what is wrong, where, what was expected, what was found and what to do.
"""


class EdgeLSTMError(Exception):
    """Base of every error that edgelstm raises on purpose."""


class FormatError(EdgeLSTMError):
    """A file cannot be read as what it claims to be."""


class UnsupportedError(EdgeLSTMError):
    """A model asks for an operator, attribute or value that is not honoured."""


class InputError(EdgeLSTMError, ValueError):
    """A reading, argument or array has the wrong name, shape, dtype or value."""


class StateError(EdgeLSTMError, ValueError):
    """A state or snapshot does not fit the model or the stream."""


class StreamError(EdgeLSTMError):
    """A model cannot be streamed, or a stream is used by two threads at once."""


class ProgramError(EdgeLSTMError):
    """A program failed verification and was not run."""


class DependencyError(EdgeLSTMError, ImportError):
    """An optional dependency is missing; the message names the extra to install."""
