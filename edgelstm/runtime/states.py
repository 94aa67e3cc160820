"""States as a caller sets them: cast to what the stream has, or one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelstm.errors import StateError
from edgelstm.graph.ir import Array, Graph
from edgelstm.runtime.inputs import show


def fit_states(graph: Graph, views: Mapping[str, Array], values: Mapping[str, Any], check: bool) -> dict[str, Array]:
    """Values by name in the dtype of the stream's states.

    Args:
        graph: of one step; knows what states start from.
        views: the stream's states by name.
        values: any of them.
        check: refuse NaN, and Inf where the state does not start with it, as running maxima do.

    Raises:
        StateError: a name is unknown or a value does not fit.
    """
    found = {}
    for name, value in values.items():
        if name not in views:
            raise StateError(f"no state is called {name!r}; this stream has {', '.join(views) or 'none'}")
        array, view = np.asarray(value), views[name]
        if array.dtype.kind not in "fiu" or array.shape != view.shape:
            raise StateError(
                f"state {name!r}: expected {view.dtype} {show(view.shape)}, got {array.dtype} {show(array.shape)}"
            )
        found[name] = array.astype(view.dtype)
        start = graph.constants[graph.initial[name]] if name in graph.initial else np.zeros(0)
        if check and not (np.isfinite(found[name]) | np.isin(found[name], start[np.isinf(start)])).all():
            raise StateError(f"state {name!r} holds NaN or Inf; give finite numbers")
    return found
