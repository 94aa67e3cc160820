"""What a processor would make of instructions: `llvm-mca` of LLVM, which models pipelines.

It takes every load for a hit in the first cache. Its figures are modelled, not measured.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from edgelstm.errors import DependencyError

# A76 is modelled by neoverse-n1, the same pipeline: LLVM 19 takes its own "cortex-a76" for an A57.
# Of an atomic exchange it knows no times there, and leaves it out.
CORES = {"A53": "cortex-a53", "A72": "cortex-a72", "A76": "neoverse-n1"}
ARM = "aarch64-unknown-linux-gnu"


def program(name: str) -> str:
    """The path of a program of LLVM, version 19 if it is there.

    Raises:
        DependencyError: it is not installed.
    """
    found = shutil.which(f"{name}-19") or shutil.which(name)
    if found is None:
        raise DependencyError(f"{name} is not installed; Debian has it in the package llvm-19")
    return found


def cycles(assembly: Sequence[str], core: str, *, triple: str = ARM, repeats: int = 1) -> int:
    """Cycles that a core takes for these instructions, executed in this order.

    Args:
        assembly: one instruction each; where a branch leads does not matter.
        core: one of `CORES`, or a processor as LLVM calls it.
        triple: whose instructions they are.
        repeats: how often they are executed, one time after the other.

    Raises:
        DependencyError: llvm-mca is not installed.
        ValueError: it does not know one of them.
    """
    command = [program("llvm-mca"), f"-mtriple={triple}", f"-mcpu={CORES.get(core, core)}", f"-iterations={repeats}"]
    command += ["-call-latency=1", "-skip-unsupported-instructions=lack-sched", "-all-views=false", "-summary-view"]
    done = subprocess.run(command, input="\n".join(assembly), capture_output=True, text=True, check=False)
    taken = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    seen = re.search(r"Instructions:\s+(\d+)", done.stdout)
    known = sum(not line.startswith("swp") for line in assembly)
    if taken is None or seen is None or int(seen[1]) < repeats * known:
        said = [line for line in done.stderr.splitlines() if "error" in line or "note: instruction" in line]
        raise ValueError(f"llvm-mca for {core}: {' '.join(said[:1]) or 'no message'}")
    return int(taken[1])
