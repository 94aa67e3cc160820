"""Measures a model's step: p50, p99 and p99.9, with loading and warm-up apart.

Each step is one call of `stream.step` from Python with a fresh random reading, on one thread (unless --threads says
more), as a live feed would make it; `step(out=)` where the model has one input and one output. The clock's own cost is
part of each figure and is reported beside them.

--suite measures this machine against other engines instead; it needs a checkout, and what `make bench` installs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgelstm.cli import columns
from edgelstm.cli.common import (
    add_model,
    add_stream,
    add_threads,
    load_model,
    load_stream,
    machine,
    machine_text,
    print_json,
    print_rows,
)
from edgelstm.errors import InputError

NANO = 1e-3  # nanoseconds to microseconds


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm bench`."""
    add_model(parser, optional=True)
    add_stream(parser)
    add_threads(parser)
    parser.add_argument("--steps", type=int, default=20_000, help="steps that are measured (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=2_000, help="steps before (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    suite = parser.add_argument_group("the suite")
    suite.add_argument("--suite", action="store_true", help="measure against other engines (docs/benchmarks.md)")
    suite.add_argument("--only", nargs="+", metavar="QUESTION", default=[], help="only these questions")
    suite.add_argument("--quick", action="store_true", help="a smoke run: the figures mean nothing")
    suite.add_argument("--out", metavar="FOLDER", type=Path, help="where tables, pictures and JSON go")
    suite.add_argument("--submit", metavar="FILE", type=Path, help="also all figures in one file, to send in")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    if options.suite:
        return _suite(options)
    if options.model is None:
        raise InputError("give a MODEL, or --suite to measure against other engines")
    for given in ("only", "quick", "out", "submit"):
        if getattr(options, given):
            raise InputError(f"--{given} goes with --suite")
    for name, value, least in (("--steps", options.steps, 1), ("--warm-up", options.warm_up, 0)):
        if value < least:
            raise InputError(f"{name}: expected at least {least}, got {value}")
    facts = measure(options)
    if options.json:
        print_json(facts)
    else:
        _print(facts)
    return 0


def _suite(options: argparse.Namespace) -> int:
    """`python -m benchmarks` of the checkout that this package stands in."""
    if options.model is not None:
        raise InputError(f"--suite measures models of its own; leave {options.model} out")
    root = Path(__file__).parents[2]
    if not (root / "benchmarks" / "__main__.py").exists():
        raise InputError(
            "--suite needs a checkout of the sources, which holds the folder benchmarks; see docs/benchmarks.md"
        )
    command = [sys.executable, "-m", "benchmarks", *options.only, *(["--quick"] if options.quick else [])]
    for name in ("out", "submit"):
        if (path := getattr(options, name)) is not None:
            command += [f"--{name}", str(path.resolve())]
    return subprocess.run(command, cwd=root, check=False).returncode


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that `bench` shows, as plain values."""
    import numpy as np

    start = time.perf_counter_ns()
    model = load_model(options)
    loaded = time.perf_counter_ns()
    stream = load_stream(model, options, threads=options.threads)
    ports = columns.stream_ports(stream)
    readings = _readings(ports, 256)
    stream.step(readings[0])
    first = time.perf_counter_ns()
    out = None
    if len(ports.inputs) == len(ports.outputs) == 1:
        (kind,) = ports.outputs.values()
        out = np.empty(columns.shape(kind), kind.dtype)
        if len(readings[0]) == 1:
            readings = [next(iter(reading.values())) for reading in readings]
    for index in range(options.warm_up):
        stream.step(readings[index % 256], out)
    warm = time.perf_counter_ns()
    times = np.empty(options.steps, np.int64)
    clock = time.perf_counter_ns
    step = stream.step
    for index in range(options.steps):
        reading = readings[index % 256]
        before = clock()
        step(reading, out)
        times[index] = clock() - before
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]) * NANO
    return {
        "model": str(options.model),
        "load_ms": (loaded - start) / 1e6,
        "first_step_ms": (first - loaded) / 1e6,
        "warm_up_ms": (warm - first) / 1e6,
        "warm_up_steps": options.warm_up,
        "steps": options.steps,
        "threads": options.threads,
        "p50_us": float(p50),
        "p99_us": float(p99),
        "p99_9_us": float(p999),
        "best_us": float(times.min() * NANO),
        "clock_us": _clock_cost(),
        "steps_per_second": float(options.steps / times.sum() * 1e9),
        "weight_bytes": sum(array.nbytes for array in (*model.graph.constants.values(), *model.graph.scales.values())),
        "state_bytes": sum(array.nbytes for array in stream.state.values()),
        "peak_memory_mb": peak_memory_mb(),
        "machine": machine(),
    }


def peak_memory_mb() -> float | None:
    """The most memory that this process had resident; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _readings(ports: columns.Ports, number: int) -> list[Any]:
    import numpy as np

    rng = np.random.default_rng(0)

    def draw(kind: Any) -> Any:
        if kind.dtype == "float32":
            return rng.standard_normal(columns.shape(kind), np.float32)
        return np.zeros(columns.shape(kind), kind.dtype)  # an index that every table has

    return [{name: draw(kind) for name, kind in ports.inputs.items()} for _ in range(number)]


def _clock_cost() -> float:
    clock = time.perf_counter_ns
    return sorted(-(clock() - clock()) for _ in range(1001))[500] * NANO


def _print(facts: dict[str, Any]) -> None:
    memory = facts["peak_memory_mb"]
    rows = [
        ("p50", f"{facts['p50_us']:.2f} us per step"),
        ("p99", f"{facts['p99_us']:.2f} us"),
        ("p99.9", f"{facts['p99_9_us']:.2f} us"),
        ("best", f"{facts['best_us']:.2f} us"),
        ("clock", f"{facts['clock_us']:.2f} us, part of each figure"),
        ("steps", f"{facts['steps']}, {facts['steps_per_second']:.0f} a second"),
        ("threads", f"{facts['threads']} at most"),
        ("load", f"{facts['load_ms']:.0f} ms"),
        ("first step", f"{facts['first_step_ms']:.0f} ms, compiling or reading the cache included"),
        ("warm-up", f"{facts['warm_up_ms']:.1f} ms, {facts['warm_up_steps']} steps"),
        ("weights", f"{facts['weight_bytes']} bytes"),
        ("state", f"{facts['state_bytes']} bytes a stream"),
        ("peak memory", "unknown" if memory is None else f"{memory:.0f} MB, the whole process"),
        ("machine", machine_text(facts["machine"])),
    ]
    print_rows(rows)
