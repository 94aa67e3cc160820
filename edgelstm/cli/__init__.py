"""The command line: one file a command, nothing heavy imported before a command needs it.

Exit codes: 0 done; 1 a comparison or self-test failed; 2 bad usage or bad input, told in one sentence on standard
error; 130 interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from edgelstm.cli import (
    bench,
    build,
    compare,
    convert,
    demo,
    doctor,
    horizon,
    inspect,
    quantize,
    run,
    serve,
    targets,
    warmup,
)
from edgelstm.errors import EdgeLSTMError
from edgelstm.version import __version__

OK, FAILED, BAD, INTERRUPTED, NO_READER = 0, 1, 2, 130, 141

COMMANDS = (convert, inspect, quantize, run, bench, compare, warmup, doctor, demo, serve, build, targets, horizon)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD, f"edgelstm: {message}; see {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = _Parser(prog="edgelstm", description="Streams trained LSTM, GRU and RNN models, one reading at a time.")
    parser.add_argument("--version", action="version", version=f"edgelstm {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        help_text, _, _ = (command.__doc__ or "").partition("\n")
        sub = commands.add_parser(
            name,
            help=help_text,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(sub)
        sub.set_defaults(command=command.main)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what stands after the program's name; `sys.argv` if None.

    Returns:
        The exit code.
    """
    if sys.stderr is None:  # it was closed; what opens next must not get its number, nor must print fall back to stdout
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the end of the process
    options = make_parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code = int(options.command(options))
            _flush()
        except EdgeLSTMError as error:
            return _fail(str(error))
        except BrokenPipeError:
            # What is still buffered would raise again when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NO_READER
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return _fail(f"{where}{error.strerror or error}")
        except KeyboardInterrupt:
            return INTERRUPTED
    return code


def _flush() -> None:
    if sys.stdout is not None:  # it was closed
        sys.stdout.flush()


def _fail(message: str) -> int:
    _flush()
    print(f"edgelstm: {message}", file=sys.stderr)
    return BAD


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"edgelstm: warning: {message}", file=sys.stderr)
