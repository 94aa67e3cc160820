"""Lists the machines that `edgelstm build` makes libraries for."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from edgelstm.cli.common import print_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm targets`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    from edgelstm.machine.targets import ALIASES, NATIVE, TARGETS

    if options.json:
        print_json({"targets": [asdict(target) for target in TARGETS.values()], "aliases": ALIASES})
        return 0
    rows = [("NAME", "MACHINES", "KERNELS USE")]
    rows += [(target.name, target.machines, target.uses) for target in TARGETS.values()]
    rows.append((NATIVE, "the machine that builds", "all that it has"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, machines, uses in rows:
        print(f"{name:{widths[0]}}  {machines:{widths[1]}}  {uses}")
    print("\nAlso: " + ", ".join(f"{alias} = {name}" for alias, name in ALIASES.items()))
    return 0
