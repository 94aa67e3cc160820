"""Checks that imports run one way.

    cli -> pipeline -> {quantization, heads} -> runtime -> {machine, file}
                  -> program -> passes -> reference -> graph -> errors

A module may import its own layer's folder and anything lower, never a neighbour on the same level and never
anything higher; an import inside a function counts like any other. Beyond that:

* numba and llvmlite are imported below edgelstm/machine only; machine never imports the reference, its oracle;
* onnx, torch, keras, tensorflow and h5py are imported in the converters only, onnxruntime in the converters and
  edgelstm/cli, inside a function;
* edgelstm imports the converters inside functions only; the converters build on passes and what is below it, and
  reach anything higher inside functions only; onnx/backend.py, which nothing imports, drives the whole from outside;
* edgelstm/cli imports nothing but the standard library, edgelstm.errors and itself at module level.

Imports under `if TYPE_CHECKING:` load nothing and count like those inside functions.

Run as a script it checks the tree it stands in and exits 1 on a violation.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEVEL = {
    "errors": 0,
    "version": 0,
    "graph": 1,
    "reference": 2,
    "passes": 3,
    "program": 4,
    "machine": 5,
    "file": 5,
    "runtime": 6,
    "quantization": 7,
    "heads": 7,
    "native": 7,
    "pipeline": 8,
    "cli": 9,
    "__init__": 10,
    "__main__": 10,
}
CONVERTERS = "edgelstm_converters"
CONVERTERS_BUILD_ON = LEVEL["passes"]
ON_TOP = {(CONVERTERS, "onnx", "backend")}
JIT = {"numba", "llvmlite"}
FRAMEWORKS = {"onnx", "torch", "keras", "tensorflow", "h5py"}
PEERS = {"onnxruntime"}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module name, where it stands, and whether importing the module leaves it alone."""

    name: str
    line: int
    lazy: bool


@dataclass(frozen=True, slots=True)
class Violation:
    """One import that breaks a rule."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def imports(source: str) -> Iterator[Import]:
    """Every import of a module's source; `from a import b` gives both `a` and `a.b`, as b may be a module."""
    yield from _walk(ast.parse(source), lazy=False)


def check_source(source: str, path: Path) -> list[Violation]:
    """Violations of one file.

    Args:
        source: the text of the file.
        path: relative to the root of the repository; it decides the layer. Need not exist.
    """
    module = _module(path)
    found: dict[tuple[int, str], Violation] = {}
    for item in imports(source):
        text = _converter_rule(module, item) if module[0] == CONVERTERS else _package_rule(module, item)
        if text:
            found.setdefault((item.line, text), Violation(path, item.line, text))
    return list(found.values())


def check_tree(root: Path) -> list[Violation]:
    """Violations of every module below `root/edgelstm` and `root/converters`."""
    files = sorted([*(root / "edgelstm").rglob("*.py"), *(root / "converters").rglob("*.py")])
    return [violation for file in files for violation in check_source(file.read_text(), file.relative_to(root))]


def main() -> int:
    """Prints violations; 1 if there are any."""
    violations = check_tree(Path(__file__).resolve().parent.parent)
    for violation in violations:
        print(violation)
    return 1 if violations else 0


def _walk(node: ast.AST, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, lazy)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            if not (base == "edgelstm" and all(alias.name in LEVEL for alias in child.names)):
                yield Import(base, child.lineno, lazy)
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, lazy)
        else:
            yield from _walk(child, lazy=lazy or _loads_nothing(child))


def _loads_nothing(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _module(path: Path) -> tuple[str, ...]:
    parts = path.with_suffix("").parts
    return parts[1:] if parts[0] == "converters" else parts


def _layer(parts: tuple[str, ...]) -> str:
    """The layer of a module of edgelstm, "" for a name that is none (a public name of the package)."""
    if len(parts) == 1:
        return "__init__"
    return parts[1] if parts[1] in LEVEL else ""


def _package_rule(module: tuple[str, ...], item: Import) -> str:
    layer = _layer(module)
    if not layer:
        return f"edgelstm/{module[1]} is not a known layer; give it a place in tools/check_layers.py"
    parts = tuple(item.name.split("."))
    top = parts[0]
    if not top:
        return f"relative import {item.name!r}; write it in full"
    if top == CONVERTERS:
        return "" if item.lazy else f"{item.name} at module level; converters are imported where needed"
    if top in JIT and layer != "machine":
        return f"{top} outside edgelstm/machine"
    if top in FRAMEWORKS:
        return f"{top} outside the converters"
    if top in PEERS and not (layer == "cli" and item.lazy):
        return f"{top} outside the converters and the functions of edgelstm/cli"
    if layer == "cli" and not item.lazy and not _light(parts):
        return f"{item.name} at module level of edgelstm/cli; import it inside the function that needs it"
    return _order_rule(layer, parts) if top == "edgelstm" else ""


def _order_rule(layer: str, parts: tuple[str, ...]) -> str:
    target = _layer(parts)
    if target == "__init__" and LEVEL[layer] < LEVEL["cli"]:
        return f"{layer} imports the top of the package"
    if not target or target in {layer, "__init__"}:
        return ""
    if layer == "machine" and target == "reference":
        return "machine imports the reference, which must stay an independent oracle"
    if LEVEL[target] >= LEVEL[layer]:
        return f"{layer} imports {target}, which is not below it"
    return ""


def _converter_rule(module: tuple[str, ...], item: Import) -> str:
    parts = tuple(item.name.split("."))
    if not parts[0]:
        return f"relative import {item.name!r}; write it in full"
    if parts[0] in JIT:
        return f"{parts[0]} outside edgelstm/machine"
    if parts[0] != "edgelstm" or item.lazy or module in ON_TOP:
        return ""
    target = _layer(parts)
    if target and LEVEL[target] > CONVERTERS_BUILD_ON:
        return f"the converters import {target if target != '__init__' else 'the top of the package'} at module level"
    return ""


def _light(parts: tuple[str, ...]) -> bool:
    if parts[0] == "edgelstm":
        return len(parts) > 1 and parts[1] in {"cli", "errors", "version"}
    return parts[0] in sys.stdlib_module_names


if __name__ == "__main__":
    sys.exit(main())
