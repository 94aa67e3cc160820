"""How a stream is asked for: what the caller tells, and what holds for the rest."""

from __future__ import annotations

from collections.abc import Mapping

from edgelstm.errors import InputError
from edgelstm.passes.stream import StreamOptions

MAX_STEPS = 1 << 20  # of history, window and lookahead


def stream_options(
    rest: StreamOptions,
    sizes: Mapping[str, int] | None = None,
    history: int | None = None,
    window: int | None = None,
    lookahead: int | None = None,
) -> StreamOptions:
    """What the caller told, see `Model.stream`; None and sizes that were not told are taken from `rest`.

    Raises:
        InputError: an option is out of range.
    """
    told = {"history": history, "window": window, "lookahead": lookahead}
    values = {name: getattr(rest, name) if value is None else value for name, value in told.items()}
    for name, value in values.items():
        least = 1 if name == "history" else 0
        if not isinstance(value, int) or not least <= value <= MAX_STEPS:
            raise InputError(f"{name}: expected an integer from {least} to {MAX_STEPS}, got {value!r}")
    return StreamOptions(tuple(sorted({**dict(rest.sizes), **(sizes or {})}.items())), **values)
