"""Imports run one way, and the checker that says so sees every kind of violation."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _load_checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_layers", ROOT / "tools" / "check_layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


checker = _load_checker()


def found(path: str, source: str) -> list[str]:
    return [violation.text for violation in checker.check_source(source, Path(path))]


def test_tree_is_clean() -> None:
    assert checker.check_tree(ROOT) == []


def test_tree_is_seen() -> None:
    layers = {path.name for path in (ROOT / "edgelstm").iterdir()}
    assert {"errors.py", "graph", "cli"} <= layers


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("edgelstm/graph/ir.py", "from edgelstm.runtime.model import Model"),
        ("edgelstm/graph/ir.py", "import edgelstm.passes.fold"),
        ("edgelstm/graph/ir.py", "from edgelstm import Model"),
        ("edgelstm/graph/ir.py", "from edgelstm import errors, runtime"),
        ("edgelstm/graph/ir.py", "if TYPE_CHECKING:\n    from edgelstm.runtime.model import Model"),
        ("edgelstm/errors.py", "from edgelstm.graph import ir"),
        ("edgelstm/reference/lstm.py", "def f():\n    from edgelstm.program import lowering"),
        ("edgelstm/machine/kernels/lstm.py", "from edgelstm.reference.lstm import lstm"),
        ("edgelstm/machine/jit.py", "from edgelstm.file import save"),
        ("edgelstm/file.py", "from edgelstm.machine.jit import warmup"),
        ("edgelstm/heads/crf.py", "from edgelstm.quantization.scheme import Scheme"),
        ("edgelstm/runtime/model.py", "from edgelstm.cli import main"),
        ("edgelstm/runtime/model.py", "import numba"),
        ("edgelstm/runtime/model.py", "def f():\n    from numba import njit"),
        ("edgelstm/runtime/model.py", "def f():\n    import onnx"),
        ("edgelstm/runtime/model.py", "from edgelstm_converters.onnx import load"),
        ("edgelstm/runtime/model.py", "def f():\n    import onnxruntime"),
        ("edgelstm/runtime/model.py", "from . import stream"),
        ("edgelstm/cli/run.py", "import numpy as np"),
        ("edgelstm/cli/run.py", "import edgelstm"),
        ("edgelstm/cli/run.py", "from edgelstm.runtime.model import Model"),
        ("edgelstm/cli/run.py", "class C:\n    import numpy"),
        ("edgelstm/cli/run.py", "if True:\n    import numpy"),
        ("edgelstm/cli/run.py", "if TYPE_CHECKING:\n    import json\nelse:\n    import numpy"),
        ("edgelstm/cli/compare.py", "import onnxruntime"),
        ("edgelstm/cli/doctor.py", "def f():\n    import numba"),
        ("edgelstm/surprise/thing.py", "import os"),
        ("converters/edgelstm_converters/onnx/model.py", "from edgelstm.runtime.model import Model"),
        ("converters/edgelstm_converters/onnx/model.py", "import edgelstm"),
        ("converters/edgelstm_converters/onnx/model.py", "def f():\n    import numba"),
    ],
)
def test_violation_is_found(path: str, source: str) -> None:
    assert len(found(path, source)) >= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("edgelstm/graph/ir.py", "from edgelstm.graph.dims import Dim\nfrom edgelstm.errors import InputError"),
        ("edgelstm/runtime/load.py", "from edgelstm import errors, file"),
        ("edgelstm/runtime/model.py", "def load():\n    from edgelstm_converters import onnx"),
        ("edgelstm/machine/kernels/lstm.py", "import numba\nfrom edgelstm.program.opcodes import ROW"),
        (
            "edgelstm/cli/run.py",
            "import csv\nfrom edgelstm.errors import InputError\nfrom edgelstm.cli.common import open_model",
        ),
        (
            "edgelstm/cli/run.py",
            "def f():\n    import numpy\n    import edgelstm\n    from edgelstm.runtime.model import Model",
        ),
        ("edgelstm/cli/run.py", "if TYPE_CHECKING:\n    from edgelstm.runtime.model import Model"),
        ("edgelstm/cli/compare.py", "def f():\n    import onnxruntime"),
        ("edgelstm/__init__.py", "from edgelstm.runtime.model import Model"),
        ("converters/edgelstm_converters/onnx/model.py", "import onnx\nfrom edgelstm.graph.ir import Graph"),
    ],
)
def test_allowed_import_is_not_reported(path: str, source: str) -> None:
    assert found(path, source) == []


def test_script_reports_where(tmp_path: Path) -> None:
    (tmp_path / "edgelstm" / "graph").mkdir(parents=True)
    (tmp_path / "edgelstm" / "graph" / "ir.py").write_text("import os\nimport numba\n")
    (tmp_path / "converters").mkdir()
    assert [str(item) for item in checker.check_tree(tmp_path)] == [
        "edgelstm/graph/ir.py:2: numba outside edgelstm/machine"
    ]
