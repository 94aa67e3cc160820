"""Kernels now, against this machine's own baseline; fails where one became slower by more than its own noise.

    python -m benchmarks.kernels.compare --write    measure, and keep it as the baseline
    python -m benchmarks.kernels.compare            measure, and compare

Each measurement is several processes of pytest-benchmark. A kernel's noise is what separates their medians. It is
slower when its fastest process is slower than every process of the baseline by more than the noise of each and `LEAST`.
The baseline is of one machine in one condition: take it and compare it in the same hour, with nothing else running.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.machine import describe

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / ".benchmarks" / "kernels.json"
LEAST = 0.03  # smaller changes are where a loop happens to lie in memory
Medians = Mapping[str, Sequence[float]]  # kernel → microseconds, one for each process


def slower(before: Medians, after: Medians) -> list[str]:
    """A sentence for each kernel that became slower beyond noise."""
    found = []
    for name in after:
        if name not in before:
            continue
        old, new = before[name], after[name]
        noise = max(max(old) - min(old), max(new) - min(new), LEAST * max(old))
        if min(new) > max(old) + noise:
            found.append(f"{name}: {max(old):.3f} → {min(new):.3f} µs, noise {noise:.3f} µs")
    return found


def measure(processes: int, seconds: float, only: str) -> dict[str, list[float]]:
    """Medians of every kernel, one for each process."""
    found: dict[str, list[float]] = {}
    for number in range(processes):
        print(f"process {number + 1} of {processes}", file=sys.stderr, flush=True)
        for name, median in _process(seconds, only).items():
            found.setdefault(name, []).append(median)
    return found


def _process(seconds: float, only: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "result.json"
        settings = [f"--benchmark-max-time={seconds}", "--benchmark-warmup=on", "--benchmark-disable-gc", "-q"]
        command = [sys.executable, "-m", "pytest", "benchmarks/kernels/test_kernels.py", "-p", "no:cacheprovider"]
        command += [*settings, f"--benchmark-json={target}", *(["-k", only] if only else [])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        content = json.loads(target.read_text(encoding="utf-8"))
    return {bench["name"]: bench["stats"]["median"] * 1e6 for bench in content["benchmarks"]}


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 where a kernel became slower."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="keep the measurement as the baseline")
    parser.add_argument("--processes", type=int, default=5, help="of pytest (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="for a kernel in a process (default %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels that pytest's -k finds")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE", help="default %(default)s")
    options = parser.parse_args(arguments)
    if not options.write and not options.baseline.exists():
        parser.error(f"{options.baseline} is not there; write one with --write")
    after = measure(options.processes, options.seconds, options.only)
    if options.write:
        options.baseline.parent.mkdir(parents=True, exist_ok=True)
        options.baseline.write_text(json.dumps({"machine": describe(), "medians": after}, indent=1), encoding="utf-8")
        print(f"wrote {options.baseline}: {len(after)} kernels")
        return 0
    content = json.loads(options.baseline.read_text(encoding="utf-8"))
    if content["machine"]["cpu"] != describe()["cpu"]:
        parser.error(f"{options.baseline} is of another processor, {content['machine']['cpu']}; write a new one")
    for name, values in after.items():
        before = content["medians"].get(name)
        print(f"{name:50} {min(before):9.3f} → {min(values):9.3f} µs" if before else f"{name:50} new")
    found = slower(content["medians"], after)
    print("\n".join(["slower than the baseline beyond noise:", *found] if found else ["nothing is slower"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
