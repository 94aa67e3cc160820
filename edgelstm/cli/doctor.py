"""Checks this installation: Python, numba, CPU features, cache directory and its ownership, self-test.

Exit code 1 if the self-test fails.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from edgelstm.cli.common import PACKAGES, cpu_flags, installed, print_json, processor
from edgelstm.version import __version__

# What the kernels gain by, in the kernel's spelling of x86-64 and AArch64.
FEATURES = ("fma", "avx2", "avx512f", "avx512_vnni", "asimd", "asimddp")
OF_EXTRA = {"numba": "jit", "onnx": "onnx", "torch": "torch", "onnxruntime": "compare"}
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: "ok", "note" (works, could be better) or "fail"; what was looked at; what was found."""

    level: str
    subject: str
    text: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm doctor`."""
    parser.add_argument("--state", metavar="FILE", type=Path, help="a store of states: tell what it writes a day")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(options: argparse.Namespace) -> int:
    """See the module."""
    findings = [_python(), *_packages(), *_processor()]
    findings += _machine()
    if options.state is not None:
        findings.append(_state(options.state))
    findings.append(_self_test())
    if options.json:
        print_json({"version": __version__, "findings": [asdict(finding) for finding in findings]})
    else:
        print(f"edgelstm {__version__}")
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            print(f"{finding.level:4}  {finding.subject:{width}}  {finding.text}")
    return 1 if any(finding.level == "fail" for finding in findings) else 0


def _python() -> Finding:
    wide = sys.maxsize > 1 << 32
    text = f"{platform.python_version()} {platform.machine()}, {'64' if wide else '32'}-bit"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("fail", "python", f"{text}: expected 3.11 or newer")
    return Finding("ok" if wide else "note", "python", text if wide else f"{text}: numba needs a 64-bit system")


def _packages() -> list[Finding]:
    from edgelstm.machine.native import prebuilt

    findings = []
    for name in PACKAGES:
        found = installed(name)
        if found:
            findings.append(_numba(found) if name == "numba" else Finding("ok", name, found))
        elif name in OF_EXTRA:
            slow = name == "numba" and prebuilt() is None
            level, gain = ("note", "; models run in plain NumPy, many times slower") if slow else ("ok", "")
            findings.append(Finding(level, name, f"not installed (edgelstm[{OF_EXTRA[name]}]){gain}"))
    return findings


def _numba(found: str) -> Finding:
    from edgelstm.machine.compiled import NUMBA

    oldest, newest = NUMBA
    if _release(found) < _release(oldest):
        return Finding("note", "numba", f"{found}: expected {oldest} or newer")
    if _release(found) > _release(newest):
        return Finding("note", "numba", f"{found}: newer than the versions that were tried, {oldest} to {newest}")
    return Finding("ok", "numba", f"{found} (tried: {oldest} to {newest})")


def _release(text: str) -> tuple[int, ...]:
    """Major and minor of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _processor() -> list[Finding]:
    flags = cpu_flags()
    found = [name for name in FEATURES if name in flags]
    fused = not flags or bool({"fma", "asimd"} & flags)
    text = ", ".join(found) if flags else "the system does not say"
    features = Finding("ok", "features", text)
    if not fused:
        features = Finding("note", "features", f"{text or 'none'}: without FMA, last bits differ from other machines")
    return [Finding("ok", "processor", f"{processor()}, {os.cpu_count()} cores"), features]


def _machine() -> list[Finding]:
    """What runs models: a library that came with the package, or numba's code and where that is kept."""
    from edgelstm.machine.native import PREBUILT
    from edgelstm.machine.trust import why_not_trusted
    from edgelstm.runtime.executors import installed_machine

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no directory is what the finding says
        compiled = installed_machine()
    if compiled is None:
        return []
    if compiled.directory == PREBUILT:
        return [Finding("ok", "machine", f"prebuilt {compiled.source}, loaded in {compiled.seconds:.2f} s")]
    asked = os.environ.get("NUMBA_CACHE_DIR")
    findings = []
    if asked and Path(asked).is_dir() and (reason := why_not_trusted(Path(asked).resolve())):
        findings.append(Finding("note", "NUMBA_CACHE_DIR", f"{asked} is not used: {reason}"))
    if compiled.directory is None:
        text = "none that only this user can write to: every process compiles anew; set NUMBA_CACHE_DIR"
        findings.append(Finding("note", "cache", text))
    else:
        findings.append(Finding("ok", "cache", f"{compiled.directory}, {_owner(compiled.directory)}"))
    text = f"{compiled.source} in {compiled.seconds:.1f} s"
    if compiled.piecemeal:
        why = f"numba compiles it function by function, which takes longer ({compiled.piecemeal})"
        return [*findings, Finding("note", "machine", f"{text}; {why}")]
    return [*findings, Finding("ok", "machine", text)]


def _owner(directory: Path) -> str:
    info = directory.stat()
    try:
        return f"owned by {directory.owner()}, mode {info.st_mode & 0o777:o}"
    except (KeyError, NotImplementedError):
        return f"owned by user {info.st_uid}, mode {info.st_mode & 0o777:o}"


def _state(path: Path) -> Finding:
    from edgelstm.errors import StateError
    from edgelstm.runtime.store import StateStore

    if not path.exists():
        return Finding("fail", "state", f"{path}: no such file")
    try:
        with StateStore(path) as store:
            wear = store.wear()
    except StateError as error:
        return Finding("fail", "state", str(error))
    pace = f"{wear.bytes_a_day:,.0f} bytes of states and messages a day, which flash sees about twice"
    return Finding("ok", "state", f"{path}: {wear.checkpoints} checkpoints, {pace}")


def _self_test() -> Finding:
    from edgelstm.cli import selftest

    result = selftest.run()
    text = f"{result.executor} against the reference: largest difference {result.error:.2g}"
    if result.passed:
        return Finding("ok", "self-test", text)
    return Finding("fail", "self-test", f"{text}, at most {selftest.TOLERANCE:g} is right; please report this machine")
