"""Predicts live: one line of CSV in, one line out, flushed.

Readings come on standard input, predictions go to standard output. A first line without any number is a header; then
columns are found by the model's feature names (or --columns), and the output has a header too.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from edgelstm.cli import columns
from edgelstm.cli.common import add_model, add_stream, add_threads, load_model, load_stream
from edgelstm.errors import InputError

if TYPE_CHECKING:
    from edgelstm.cli.columns import Ports
    from edgelstm.pipeline.progress import Progress
    from edgelstm.runtime.model import Model
    from edgelstm.runtime.stream import Stream

BYTE_ORDER_MARK = "\ufeff"  # what spreadsheets write in front of UTF-8
POLICIES = ("error", "hold", "reset", "propagate")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where in a line the features stand, and the columns passed through."""

    features: list[int]
    kept: list[int]
    width: int


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm run`."""
    add_model(parser)
    add_stream(parser)
    add_threads(parser)
    parser.add_argument(
        "--columns",
        metavar="COL[,COL]",
        type=_names,
        help="the columns to read, in the order of the model's features; numbers from 1 where there is no header",
    )
    parser.add_argument(
        "--keep",
        metavar="COL[,COL]",
        type=_names,
        default=[],
        help="columns to pass through, in front of the prediction",
    )
    parser.add_argument(
        "--on-invalid",
        choices=POLICIES,
        default="error",
        help="what a reading with NaN, Inf or an empty field does: stop with an error (the default), hold the last "
        "good value, reset the state and predict nan, or propagate",
    )


def main(options: argparse.Namespace) -> int:
    """See the module."""
    from edgelstm.pipeline.progress import Progress

    model = load_model(options)
    stream = load_stream(model, options, on_invalid=options.on_invalid, threads=options.threads)
    ports = columns.stream_ports(stream)
    _pass_bytes_through()
    pump(model, stream, ports, options, sys.stdin, sys.stdout, Progress(sys.stdin))
    return 0


def _pass_bytes_through() -> None:
    """UTF-8 whatever the locale, and kept columns in another encoding come out as they came in."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")


def pump(
    model: Model,
    stream: Stream,
    ports: Ports,
    options: argparse.Namespace,
    source: TextIO,
    target: TextIO,
    progress: Progress | None = None,
) -> None:
    """Line by line from `source` to `target`, each written as soon as it is known.

    Raises:
        InputError: a line does not fit; names it.
    """
    writer = csv.writer(target, lineterminator="\n")
    plan = None
    for number, fields in _lines(source):
        if plan is None:
            header = columns.looks_like_header(fields)
            plan = _plan(model, ports, options, fields, header)
            if header:
                writer.writerow([*_kept(plan, fields), *columns.names(ports.outputs)])
                target.flush()
                continue
        prediction = _predict(stream, ports, plan, number, fields)
        writer.writerow([*_kept(plan, fields), *columns.to_texts(prediction, ports)])
        target.flush()
        if progress is not None:
            progress.show(number)
    if progress is not None:
        progress.close()


def _kept(plan: Plan, fields: Sequence[str]) -> list[str]:
    return [fields[column] for column in plan.kept]


def _predict(stream: Stream, ports: Ports, plan: Plan, number: int, fields: Sequence[str]) -> Any:
    if len(fields) != plan.width:
        raise InputError(f"line {number}: expected {plan.width} columns as on the first line, got {len(fields)}")
    dtypes = [kind.dtype for kind in ports.inputs.values() for _ in range(columns.count(kind))]
    values = [
        columns.parse_number(fields[column], dtype, f"line {number}, column {column + 1}")
        for column, dtype in zip(plan.features, dtypes, strict=True)
    ]
    try:
        return stream.step(columns.to_feeds(values, ports))
    except InputError as error:
        raise InputError(f"line {number}: {error}") from None


def _plan(model: Model, ports: Ports, options: argparse.Namespace, fields: Sequence[str], header: bool) -> Plan:
    features, by_name = columns.feature_names(model, ports)
    width = len(fields)
    kept = _locate(options.keep, fields, header, "--keep")
    if options.columns:
        if len(options.columns) != len(features):
            raise InputError(
                f"--columns: expected {len(features)} columns for {', '.join(features)}; got {len(options.columns)}"
            )
        return Plan(_locate(options.columns, fields, header, "--columns"), kept, width)
    if header and by_name:
        return Plan(columns.find_columns(features, fields, "the feature"), kept, width)
    rest = [column for column in range(width) if column not in kept]
    if len(rest) != len(features):
        raise InputError(
            f"expected {len(features)} columns ({', '.join(features)}), got {len(rest)} besides those of --keep; "
            "name the columns to read with --columns"
        )
    if header:
        taken = ", ".join(f"{fields[column]} as {feature}" for column, feature in zip(rest, features, strict=True))
        print(f"edgelstm: columns taken in order: {taken}", file=sys.stderr)
    return Plan(rest, kept, width)


def _locate(wanted: Sequence[str], fields: Sequence[str], header: bool, option: str) -> list[int]:
    if header:
        return columns.find_columns(wanted, fields, f"{option}: the column")
    return columns.parse_positions(wanted, len(fields), option)


def _lines(source: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that is not blank, each as soon as it is there."""
    reader = csv.reader(iter(source.readline, ""), strict=True)
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(f"line {reader.line_num + 1}: expected CSV ({error})") from None
        if fields is None:
            return
        if fields:
            fields[0] = fields[0].removeprefix(BYTE_ORDER_MARK)
            yield reader.line_num, fields


def _names(text: str) -> list[str]:
    return next(csv.reader([text]), [])
