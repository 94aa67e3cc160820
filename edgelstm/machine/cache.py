"""Where compiled code is kept between processes, and who may have written it.

numba's cache is pickle, and reading pickle can run code. So a directory counts only if nobody else
can write to it or to a directory above it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)

from edgelstm.machine.trust import why_not_trusted

__all__ = ["TrustedCache", "why_not_trusted"]


class _Trusted:
    """Makes its directory for the user alone, and steps aside where others can write."""

    def ensure_cache_path(self) -> None:
        Path(self.get_cache_path()).mkdir(mode=0o700, parents=True, exist_ok=True)  # type: ignore[attr-defined]
        super().ensure_cache_path()  # type: ignore[misc]

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        locator = super().from_function(py_func, py_file)  # type: ignore[misc]
        if locator is None or why_not_trusted(Path(locator.get_cache_path()).resolve()):
            return None
        return locator


class _Provided(_Trusted, UserProvidedCacheLocator):
    """NUMBA_CACHE_DIR."""


class _UserWide(_Trusted, UserWideCacheLocator):
    """The user's cache directory."""


class _InTree(_Trusted, InTreeCacheLocator):
    """Beside the source files."""


class _Implementation(CompileResultCacheImpl):
    _locator_classes = [_Provided, _UserWide, _InTree]  # noqa: RUF012 - as numba declares it


class TrustedCache(FunctionCache):
    """numba's cache of one function, in the first directory that is writable and the user's alone.

    Raises:
        RuntimeError: there is none.
    """

    _impl_class = _Implementation
