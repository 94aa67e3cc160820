"""Builds wheels: the pure one, and one per architecture that carries the machine compiled ahead of time.

    python -m tools.wheel [-o FOLDER] [x86_64] [aarch64]

numba and ziglang must be installed (edgelstm[build]); both architectures come from any one machine.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from edgelstm.machine.ahead import object_code
from edgelstm.machine.targets import TARGETS
from edgelstm.native.link import shared_library

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = {
    "x86_64": ("x86-64-v2", "x86-64-v3", "x86-64-v3-vnni", "x86-64-v4", "x86-64-v4-vnni"),
    "aarch64": ("aarch64", "aarch64-dotprod"),
}
PLATFORM = "manylinux2014_{architecture}.manylinux_2_17_{architecture}"
DATE = (2020, 1, 1, 0, 0, 0)  # the same bytes whenever they are built


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the wheels and prints their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "dist")
    parser.add_argument("architectures", nargs="*", help=", ".join(LIBRARIES))
    options = parser.parse_args(arguments)
    architectures = options.architectures or list(LIBRARIES)
    if unknown := set(architectures) - set(LIBRARIES):
        parser.error(f"unknown architecture {min(unknown)!r}; known: {', '.join(LIBRARIES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    pure = Path(next(iter(WheelBuilder(str(ROOT)).build(directory=str(options.out), versions=["standard"]))))
    print(pure)
    for architecture in architectures:
        print(platform_wheel(pure, architecture, options.out))
    return 0


def platform_wheel(pure: Path, architecture: str, out: Path) -> Path:
    """The pure wheel with the libraries of one architecture in it."""
    with tempfile.TemporaryDirectory(prefix="edgelstm-") as folder:
        names = LIBRARIES[architecture]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each compiler is a process of its own
            made = list(pool.map(lambda name: _library(name, Path(folder)), names))
        libraries = {f"edgelstm/machine/prebuilt/{name}.so": data for name, data in zip(names, made, strict=True)}
    tag = PLATFORM.format(architecture=architecture)
    path = out / pure.name.replace("-any.whl", f"-{tag}.whl")
    with zipfile.ZipFile(pure) as source:
        files = {name: source.read(name) for name in source.namelist()}
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    facts = record.replace("RECORD", "WHEEL")
    tags = "".join(f"Tag: py3-none-{part}\n" for part in tag.split("."))
    text = files[facts].decode().replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    files[facts] = text.replace("Tag: py3-none-any\n", tags).encode()
    del files[record]
    files |= libraries
    files[record] = _record(files, record)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            wheel.writestr(entry, data)
    return path


def _library(name: str, folder: Path) -> bytes:
    """The machine for a target, linked."""
    target, machine, library = TARGETS[name], folder / f"{name}.o", folder / f"{name}.so"
    machine.write_bytes(object_code(target))
    shared_library([machine], target, f"edgelstm-{name}", library)
    print(f"  {name}: {library.stat().st_size} bytes", file=sys.stderr)
    return library.read_bytes()


def _record(files: dict[str, bytes], record: str) -> bytes:
    def digest(data: bytes) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

    lines = [f"{name},sha256={digest(data)},{len(data)}" for name, data in files.items()]
    return ("\n".join([*lines, f"{record},,"]) + "\n").encode()


if __name__ == "__main__":
    sys.exit(main())
