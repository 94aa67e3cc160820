"""Compiles a model ahead of time to a folder for a device: library, C header, loader, card, golden vectors.

The device needs neither numba nor a compiler: `edgelstm.load(FOLDER)`, the loader in the folder with bare Python, or C.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelstm.cli.common import add_model, add_stream, load_model, read_sizes
from edgelstm.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm build`."""
    add_model(parser)
    add_stream(parser)
    parser.add_argument("--target", metavar="NAME", help="the device; `edgelstm targets` lists them")
    parser.add_argument(
        "--triple", metavar="TRIPLE", help="instead of --target: LLVM's name of architecture and system"
    )
    parser.add_argument("--cpu", metavar="CPU", default="", help="with --triple: LLVM's name of the processor")
    parser.add_argument("--features", metavar="LIST", default="", help="with --triple: as +dotprod,+fp16")
    parser.add_argument(
        "--name", metavar="NAME", help="of the library and its functions (default: from the model's file)"
    )
    parser.add_argument("-o", "--out", metavar="FOLDER", type=Path, required=True, help="the folder to write")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    from edgelstm.machine.ahead import resolve
    from edgelstm.machine.targets import custom
    from edgelstm.native.build import build
    from edgelstm.passes.stream import StreamOptions
    from edgelstm.runtime.options import stream_options

    if (options.target is None) == (options.triple is None):
        raise InputError("give --target NAME (`edgelstm targets` lists them), or --triple with --cpu and --features")
    if options.target and (options.cpu or options.features):
        raise InputError("--cpu and --features go with --triple; --target says them itself")
    told = options.triple, options.cpu, options.features
    target = resolve(options.target) if options.target else custom(*told)
    name = options.name or _c_name(options.model.stem)
    form = stream_options(StreamOptions(), read_sizes(options), options.history, options.window, options.lookahead)
    out = build(load_model(options), target, options.out, name=name, options=form)
    size = (out / f"lib{name}.so").stat().st_size
    print(f"wrote {out} for {target.name}: {target.uses}; lib{name}.so has {size} bytes")
    return 0


def _c_name(stem: str) -> str:
    """A file's stem as a C name."""
    text = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in stem.lower())
    return (text if text[:1].isalpha() else f"m_{text}")[:40]
