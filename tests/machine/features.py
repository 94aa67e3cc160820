"""What the CPU that tests compile for can do."""

import pytest
from numba.core.registry import cpu_target


def has_fma():
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+fma" in features.split(",") or triple.startswith(("aarch64", "arm64"))


needs_fma = pytest.mark.skipif(not has_fma(), reason="bits and error bounds are those of CPUs with FMA")
