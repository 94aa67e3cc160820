"""The cache of compiled code: where it may be, and what makes an entry stale."""

import os
import warnings

import numba
import pytest
from numba.core import types
from numba.core.registry import cpu_target

from edgelstm.machine import cache, compiled, jit


def double(value):
    return 2 * value


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A cache directory of the user's own below a directory that is, too."""
    directory = tmp_path / "cache"
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(directory))
    return directory


def test_a_private_directory_is_used(private):
    found = cache.TrustedCache(double)
    assert str(private) in found.cache_path
    assert cache.why_not_trusted(private) is None


@pytest.mark.skipif(os.name != "posix", reason="mode bits")
@pytest.mark.parametrize("mode", [0o707, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(private, mode):
    private.chmod(mode)
    assert "everybody can write" in cache.why_not_trusted(private / ".." / "cache")
    assert str(private) not in cache.TrustedCache(double).cache_path


@pytest.mark.skipif(os.name != "posix", reason="mode bits")
def test_a_writable_parent_counts_unless_it_is_sticky(private):
    inner = private / "inner"
    inner.mkdir(mode=0o700)
    private.chmod(0o777)
    assert str(private) in cache.why_not_trusted(inner)
    private.chmod(0o1777)
    assert cache.why_not_trusted(inner) is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give files away")
def test_a_directory_of_another_user_is_refused(private):
    os.chown(private, 12345, 12345)
    assert "another user" in cache.why_not_trusted(private)


def test_without_any_directory_one_warning_names_the_remedy(monkeypatch):
    monkeypatch.setattr(cache._Implementation, "_locator_classes", [])
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        assert jit._enable_cache(numba.njit(double)) is None


def test_compiled_code_is_kept_and_found_again(private):
    for hits in (0, 1):
        function = numba.njit(jit._execute("sources"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert jit._enable_cache(function) is not None
        function.compile(types.int64(types.int64, types.int64))
        assert sum(function.stats.cache_hits.values()) == hits


def test_other_sources_are_another_entry(private):
    codegen = cpu_target.target_context.codegen()
    keys = [cache.TrustedCache(jit._interpreter(text))._index_key(types.int64(types.int64), codegen) for text in "aab"]
    assert keys[0] == keys[1] != keys[2]


def test_the_digest_covers_kernels_and_lowering(tmp_path, monkeypatch):
    for name in ("machine/kernels/lstm.py", "program/lower/lstm.py", "reference/lstm.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(compiled, "FOLDER", tmp_path / "machine")
    digests = [jit.digest()]
    for name in ("machine/kernels/lstm.py", "program/lower/lstm.py"):
        (tmp_path / name).write_text("2")
        digests.append(jit.digest())
    (tmp_path / "reference/lstm.py").write_text("2")
    assert len(set(digests)) == 3
    assert jit.digest() == digests[-1]
