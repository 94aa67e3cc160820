"""How much does an installation take on disk, with all that the package requires?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from benchmarks.measure import Timing
from benchmarks.questions import Case, Effort, unavailable
from benchmarks.results import Row
from benchmarks.runtimes import Unavailable

TITLE = "Installed size: the package and everything that it requires, Python itself apart"
UNIT = "MB"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "onnxruntime": "onnxruntime",
    "litert": "ai-edge-litert",
    "pytorch": "torch",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "tract": "tract",
}


def cases(*, quick: bool) -> list[Case]:
    """One."""
    return [Case("size", "installed")]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """Counts the files that the installer wrote; compiled Python files are not among them."""
    row = Row(case.group, case.label)
    lacking: set[str] = set()
    for name in engines:
        with unavailable(row, name):
            if name == "edgelstm":
                own, base, compiler = _tree(), {"numpy", "safetensors"}, {"numpy", "safetensors", "numba"}
                row.figures["edgelstm"] = _megabytes(own + _closure(base, lacking))
                row.figures["edgelstm, numba"] = _megabytes(own + _closure(compiler, lacking))
            else:
                row.figures[name] = _megabytes(_closure({PACKAGES[name]}, lacking))
    if lacking:
        row.note = f"without {', '.join(sorted(lacking))}, which are required and not installed here"
    return [row]


def _megabytes(size: int) -> Timing:
    return Timing(size / 1e6, size / 1e6, size / 1e6)


def _tree() -> int:
    """This package, without what Python and tools leave in its folders."""
    files = (path for path in (ROOT / "edgelstm").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sum(path.stat().st_size for path in files)


def _closure(names: set[str], lacking: set[str]) -> int:
    """Bytes of some distributions and of all that they require.

    Raises:
        Unavailable: one of `names` is not installed.
    """
    todo, seen, total = set(names), set[str](), 0
    while todo:
        name = todo.pop()
        seen.add(name)
        try:
            size, requires = _one(name)
        except PackageNotFoundError:
            if name in names:
                raise Unavailable("not installed") from None
            lacking.add(name)
            continue
        total += size
        todo |= requires - seen
    return total


@cache
def _one(name: str) -> tuple[int, set[str]]:
    from packaging.requirements import Requirement

    found = distribution(name)
    files = (Path(str(found.locate_file(file))) for file in found.files or () if file.suffix != ".pyc")
    parsed = [Requirement(text) for text in found.requires or ()]
    wanted = {each.name for each in parsed if each.marker is None or each.marker.evaluate({"extra": ""})}
    return sum(path.stat().st_size for path in files if path.is_file()), wanted
