"""The wheel with the compiled machine: its tags, what is in it, and that it runs models where numba is not."""

import base64
import csv
import hashlib
import os
import re
import sys
import zipfile

import pytest

from edgelstm.cli.demo import DATA
from edgelstm.machine import native
from tests.native import support
from tests.support import require_module, require_program

pytestmark = pytest.mark.slow  # compiles the machine seven times


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    require_module("ziglang")
    require_module("hatchling")
    from tools import wheel

    out = tmp_path_factory.mktemp("dist")
    assert wheel.main(["-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """The wheel that pip takes here, alone among those that were built."""
    site = tmp_path_factory.mktemp("site")
    command = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--find-links", wheels, "edgelstm")
    done = support.run(sys.executable, *command, "--target", site)
    assert done.returncode == 0, done.stderr
    return site


def test_one_wheel_for_each_architecture_and_the_pure_one(wheels):
    tags = sorted(path.name.partition("-py3-none-")[2] for path in wheels.glob("*.whl"))
    many = "manylinux2014_{0}.manylinux_2_17_{0}.whl"
    assert tags == ["any.whl", many.format("aarch64"), many.format("x86_64")]


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_the_libraries_ask_for_nothing_of_the_system(wheels, architecture, tmp_path):
    from tools.wheel import LIBRARIES

    (path,) = wheels.glob(f"*{architecture}.whl")
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".so")]
        assert names == [f"edgelstm/machine/prebuilt/{name}.so" for name in LIBRARIES[architecture]]
        wheel.extractall(tmp_path)
    machine = {"x86_64": "Advanced Micro Devices X86-64", "aarch64": "AArch64"}[architecture]
    for name in names:
        text = support.run(require_program("readelf"), "-hdVW", "--dyn-syms", tmp_path / name).stdout
        assert machine in text
        assert not re.search(r"NEEDED|GLIBC|TEXTREL| UND \w", text)


def test_the_record_has_every_file_and_its_hash(wheels):
    (path,) = wheels.glob("*x86_64.whl")
    with zipfile.ZipFile(path) as wheel:
        (record,) = (name for name in wheel.namelist() if name.endswith("RECORD"))
        rows = {name: told for name, told, _ in csv.reader(wheel.read(record).decode().splitlines())}
        assert set(rows) == set(wheel.namelist())
        for name in set(rows) - {record}:
            found = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
            assert rows[name] == f"sha256={found}"


@pytest.mark.skipif(not native.suitable(), reason="no library is made for this processor")
def test_it_runs_models_without_numba(installed, tmp_path):
    (tmp_path / "m.onnx").write_bytes((DATA / "forecaster.onnx").read_bytes())
    import edgelstm

    model = edgelstm.load(tmp_path / "m.onnx")
    model.save(tmp_path / "m.edgelstm")
    script = (
        "sys.path.insert(0, sys.argv[1])\n"
        "import edgelstm\n"
        "from edgelstm.cli import main\n"
        "assert edgelstm.__file__.startswith(sys.argv[1])\n"
        "stream = edgelstm.load('m.edgelstm').stream()\n"
        "print(stream.step([21.5]).tolist(), not {'numba', 'llvmlite'} & set(sys.modules))\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = support.run(
        *(sys.executable, "-c", support.BLOCK + script, installed),
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "EDGELSTM_MACHINE"}},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == f"{model.stream().step([21.5]).tolist()} True"
    assert f"prebuilt library for {native.suitable()[0]}" in "\n".join(rest)


@pytest.mark.skipif(not native.suitable(), reason="no library is made for this processor")
def test_it_runs_where_another_user_installed_it(installed, tmp_path):
    """Who can change the library can change the modules beside it: nothing is gained by refusing it."""
    library = installed / "edgelstm" / "machine" / "prebuilt" / f"{native.suitable()[0]}.so"
    library.chmod(0o666)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from edgelstm.runtime.executors import installed_machine\n"
        "print(installed_machine().source)\n"
    )
    done = support.run(sys.executable, "-c", script, installed, cwd=tmp_path)
    assert "library for" in done.stdout, done.stderr
