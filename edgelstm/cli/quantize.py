"""Quantizes a model to int8 where that serves, and says what became of each matrix.

With calibration readings (a CSV as `edgelstm run` takes it, or an .npy or .npz file) the error is measured and kept
within the tolerance. Without, errors are not known.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli import columns
from edgelstm.cli.common import add_model, load_model, print_json, read_sizes
from edgelstm.errors import InputError

if TYPE_CHECKING:
    from edgelstm.runtime.model import Model


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm quantize`."""
    add_model(parser)
    parser.add_argument(
        "-o", "--out", metavar="FILE", type=Path, help="the file to write; MODEL-int8.edgelstm if not given"
    )
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        type=Path,
        help="readings as the model will see them: a CSV with a column a feature, an .npy array of readings or of "
        "whole sequences, or an .npz with an array for each input",
    )
    parser.add_argument(
        "--columns",
        metavar="COL[,COL]",
        help="the columns of the CSV to read, in the order of the model's features; numbers from 1 without a header",
    )
    parser.add_argument(
        "--objective",
        choices=("speed", "size"),
        default="speed",
        help="speed (the default): int8 where it is faster on the target; size: all that the tolerance allows",
    )
    parser.add_argument("--target", default="native", help="whose speed counts: native (the default), pi5, pi4, pi3...")
    parser.add_argument(
        "--tolerance",
        type=float,
        help="largest difference from the float model, or inf (default: for each output 5 %% of its range and 0.25 %% "
        "root mean square; without calibration data only recurrent layers and embeddings are quantized)",
    )
    parser.add_argument("--activations", choices=("dynamic", "calibrated"), default="dynamic", help="scales of inputs")
    parser.add_argument(
        "--method", choices=("minmax", "percentile", "mse"), default="minmax", help="of calibrated scales"
    )
    parser.add_argument("--weights-only", action="store_true", help="keep activations in float")
    parser.add_argument("--float16", action="store_true", help="store the weights that stay float as float16")
    parser.add_argument(
        "--keep", metavar="MATRIX", action="append", default=[], help="leave a matrix in float; repeatable"
    )
    parser.add_argument("--measure", action="store_true", help="time a step with each matrix on int8, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    from edgelstm.quantization.quantize import quantize_reported

    out = options.out or options.model.with_name(f"{options.model.stem}-int8.edgelstm")
    if out.suffix != ".edgelstm":
        raise InputError(f"--out: expected a name that ends in .edgelstm, got {out.name!r}")
    if out.exists() and options.model.exists() and out.samefile(options.model):
        raise InputError(f"{out}: is the model itself; give another name with -o")
    model = load_model(options)
    data = None if options.calibrate is None else read_calibration(model, options)
    quantized, report = quantize_reported(
        model,
        data,
        options.objective,
        options.target,
        options.tolerance,
        options.activations,
        method=options.method,
        weights_only=options.weights_only,
        float16=options.float16,
        keep=options.keep,
        measure=options.measure,
        sizes=read_sizes(options),
    )
    quantized.save(out)
    if options.json:
        print_json({"out": str(out), "file_bytes": out.stat().st_size, **report.to_json()})
    else:
        print(report)
        print(f"wrote {out} ({out.stat().st_size} bytes)")
    return 0


def read_calibration(model: Model, options: argparse.Namespace) -> Any:
    """The readings of a file.

    Raises:
        InputError: the file or a line does not fit.
    """
    import zipfile

    import numpy as np

    path: Path = options.calibrate
    if path.suffix.lower() in {".npy", ".npz"}:
        try:
            found = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: expected a file of arrays ({error})") from None
        return found if isinstance(found, np.ndarray) else dict(found)
    return columns.read_csv(model, model.stream(sizes=read_sizes(options)), path, options.columns)
