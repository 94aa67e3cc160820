"""Measures after how many readings a stream no longer depends on the state that it started from.

So many readings are to be replayed after a loss of state, and so long a fresh stream is not to be trusted. The figure
depends on the readings: give a CSV with some of your own. Columns are found as by `edgelstm run`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelstm.cli import columns
from edgelstm.cli.common import add_model, add_stream, load_model, load_stream, print_json, print_rows


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm horizon`."""
    add_model(parser)
    add_stream(parser)
    parser.add_argument("--data", metavar="CSV", type=Path, help="a CSV with readings, one a line")
    parser.add_argument(
        "--columns",
        metavar="COL[,COL]",
        help="the columns of the CSV to read, in the order of the model's features; numbers from 1 without a header",
    )
    parser.add_argument("--tolerance", type=float, default=1e-3, help="part of the largest output (default: 0.001)")
    parser.add_argument("--longest", type=int, default=10_000, help="readings that are tried (default: 10000)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    from dataclasses import asdict

    from edgelstm.runtime.horizon import measure

    model = load_model(options)
    xs = columns.read_csv(model, load_stream(model, options), options.data, options.columns) if options.data else None
    found = measure(lambda: load_stream(model, options), xs, options.tolerance, options.longest)
    if options.json:
        print_json(asdict(found))
        return 0 if found.steps is not None else 1
    steps = "none found: the start state still shows" if found.steps is None else str(found.steps)
    source = str(options.data) if options.data else "random"
    print_rows(
        [
            ("horizon", f"{steps} readings" if found.steps is not None else steps),
            ("tolerance", f"{found.tolerance:g} of the largest output"),
            ("readings", f"{source}, {found.readings} at most, {found.trials} trials"),
        ]
    )
    return 0 if found.steps is not None else 1
