"""Write docs/operators.md: every operator, its attributes, what a stream makes of it, and where it comes from.

`python tools/operator_table.py` writes the page; with `--check` it only says whether the page is current. Needs the
converters' onnx.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "operators.md"

HEAD = """# Operators

Made by `tools/operator_table.py`; a test keeps it current. What is not listed is refused by name at load.

## Of the Graph

Every one has a NumPy definition (`edgelstm/reference`, also in float64) and an instruction of the machine
(`edgelstm/program/lower`, `edgelstm/machine/kernels`); both run all of them. "In a stream" says what becomes of
an operator along the time axis; along other axes all of them run as they are. What a rule does not allow is refused by
name, with the ways out.

| operator | inputs | attributes (default) | in a stream |
|---|---|---|---|
"""

IMPORTED = """
## Of ONNX

Each by its own version history, up to the newest opset of the installed onnx. Arithmetic on sizes (`Shape`, `Gather`,
`Concat`, ... of integers) is evaluated while loading and leaves no operator behind.

| operator | opset versions |
|---|---|
"""


def page() -> str:
    """The page as it should be."""
    sys.path[:0] = [str(ROOT), str(ROOT / "converters")]
    from edgelstm_converters.onnx import registry

    from edgelstm.graph.ops import OPS, REQUIRED
    from edgelstm.passes.stream import RULES

    lines = [HEAD]
    for name, op in sorted(OPS.items()):
        attrs = ", ".join(key if value is REQUIRED else f"{key} ({value})" for key, value in op.attrs.items())
        rule = (
            (inspect.getdoc(RULES[name]) or "").split("\n")[0]
            if name in RULES
            else "Made by streams: writes one element into a history."
        )
        lines.append(f"| `{name}` | {', '.join(op.inputs)} | {attrs or '–'} | {rule} |\n")
    lines.append(IMPORTED)
    lines += [f"| {name} | {_versions(registry.versions(name))} |\n" for name in registry.supported()]
    return "".join(lines)


def _first_line(rule: object) -> str:
    return (inspect.getdoc(rule) or "").split("\n")[0]


def _versions(spans: list[tuple[int, int]]) -> str:
    from edgelstm_converters.onnx.registry import FOREVER

    return ", ".join(f"from {since}" if until == FOREVER else f"{since} to {until}" for since, until in sorted(spans))


def main() -> int:
    """Write the page, or check it."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{PAGE.name} is not current: run python tools/operator_table.py", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
