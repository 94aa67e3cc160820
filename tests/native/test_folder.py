"""A built folder gives the machine's bits, from Python, from bare Python and from C; and what it refuses."""

import ctypes
import json
import platform
import shutil
import sys

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import FormatError, InputError
from edgelstm.machine import native, team
from edgelstm.machine.targets import find
from edgelstm.native.build import build
from edgelstm.passes.stream import StreamOptions
from tests.native import support
from tests.support import require_module, require_program
from tests.threads import eager

pytestmark = pytest.mark.skipif(
    "x86-64-v3" not in native.suitable(), reason="builds and runs the library for x86-64 with AVX2"
)
TARGET = "x86-64-v3"
__all__ = ["eager"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    out = tmp_path_factory.mktemp("folders")
    return {kind: support.built(kind, TARGET, out) for kind in support.KINDS}


@pytest.fixture
def folder(folders, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(folders["lstm"], tmp_path / "copy")


@pytest.mark.parametrize("kind", support.KINDS)
def test_the_library_gives_the_bits_of_the_machine(folders, kind):
    native_model, model = edgelstm.load(folders[kind]), support.model(kind)
    xs = support.readings(300, kind=kind)
    expected = support.stream(model, kind).run(xs)
    stream = native_model.stream()
    assert np.array_equal([stream.step(x) for x in xs[:100]], expected[:100])
    assert np.array_equal(stream.run(xs[100:]), expected[100:])
    if kind != "silero":  # one chunk a call
        assert np.array_equal(native_model.predict(xs[None]), model.predict(xs[None]))


@pytest.mark.parametrize("kind", ["lstm", "int8"])
def test_pools_run_on_the_library(folders, kind):
    xs = support.readings(40).reshape(8, 5, support.FEATURES)
    pools = [model.pool(5) for model in (edgelstm.load(folders[kind]), support.model(kind))]
    for rows in xs:
        first, second = (pool.step(list("abcde"), rows) for pool in pools)
        assert np.array_equal(first, second)


def test_threads_share_rows_in_the_library(eager, folders):
    if not team.possible():
        pytest.skip("this system has no unnamed semaphores")
    native_model, model = edgelstm.load(folders["lstm"]), support.model("lstm")
    x = support.readings(640).reshape(16, 40, support.FEATURES)
    pools = [native_model.pool(300, threads=2), model.pool(300)]
    rows = np.resize(x[0], (300, support.FEATURES))
    first, second = (pool.step(list(range(300)), rows) for pool in pools)
    assert pools[0]._shards is not None
    assert np.array_equal(first, second)
    assert np.array_equal(native_model.predict(x, threads=2), model.predict(x))


@pytest.mark.parametrize("kind", support.KINDS)
def test_snapshots_move_between_machine_library_bare_python_and_back(folders, kind):
    xs = support.readings(30, kind=kind)
    jit, library = (support.stream(model, kind) for model in (support.model(kind), edgelstm.load(folders[kind])))
    jit.run(xs[:10])
    library.restore(jit.snapshot())
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import model\n"
        "stream = model.Stream(); stream.restore(bytes.fromhex(sys.argv[2]))\n"
        "for row in eval(sys.argv[3]): stream.step(row)\n"
        "print(stream.snapshot().hex())\n"
    )
    library.run(xs[10:20])
    done = support.run(sys.executable, "-S", "-c", script, folders[kind], library.snapshot().hex(), xs[20:25].tolist())
    assert done.returncode == 0, done.stderr
    jit.run(xs[10:25])
    assert bytes.fromhex(done.stdout) == jit.snapshot()


def test_snapshots_move_to_the_reference_and_back(folders):
    xs = support.readings(30)
    library, never_moved = (edgelstm.load(folders["lstm"]).stream() for _ in range(2))
    library.run(xs[:10])
    script = (
        "import edgelstm, json\n"
        "stream = edgelstm.load(sys.argv[1]).stream()\n"
        "stream.restore(bytes.fromhex(sys.argv[2]))\n"
        "stream.run(json.loads(sys.argv[3]))\n"
        "print(stream.snapshot().hex())\n"
    )
    told = folders["lstm"] / "model.edgelstm", library.snapshot().hex(), json.dumps(xs[10:20].tolist())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EDGELSTM_MACHINE", "numpy")
        library.restore(bytes.fromhex(support.without_numba(script, *told)))
    expected = never_moved.run(xs)[20:]
    np.testing.assert_allclose(library.run(xs[20:]), expected, rtol=1e-5, atol=1e-6)


def test_neither_numba_nor_llvmlite_is_imported(folders):
    script = (
        "import edgelstm\n"
        "stream = edgelstm.load(sys.argv[1]).stream()\n"
        "print(stream.step([0.5] * 5).tolist())\n"
        "assert not {'numba', 'llvmlite'} & set(sys.modules)\n"
    )
    expected = support.model("lstm").stream().step([0.5] * 5)
    assert json.loads(support.without_numba(script, folders["lstm"])) == expected.tolist()


@pytest.mark.parametrize("kind", support.KINDS)
def test_the_bare_loader_tests_itself_without_any_package(folders, kind):
    done = support.run(sys.executable, "-S", "-I", folders[kind] / "model.py")
    assert done.returncode == 0, done.stderr
    assert "64 golden steps, 0 wrong" in done.stdout


def test_the_bare_loader_refuses_bad_readings(folders):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import model\n"
        "stream = model.Stream(); before = stream.snapshot()\n"
        "for bad in ([float('nan')] * 5, [1.0] * 4):\n"
        "    try: stream.step(bad)\n"
        "    except ValueError as error: print(error)\n"
        "try: stream.restore(before[:-1])\n"
        "except ValueError as error: print(error)\n"
        "assert stream.snapshot() == before\n"
    )
    done = support.run(sys.executable, "-S", "-c", script, folders["lstm"])
    assert done.returncode == 0, done.stderr
    nan, size, snapshot = done.stdout.splitlines()
    assert "NaN or Inf" in nan
    assert "expected a reading of 5 numbers, got 4" in size
    assert "not a snapshot of this model" in snapshot


@pytest.mark.parametrize("kind", support.KINDS)
def test_c_gives_the_same_bits_and_touches_no_memory_but_its_own(folders, kind):
    program = support.compiled_example(folders[kind])
    assert support.run(program, "golden.bin", cwd=folders[kind]).stdout == "64 steps, 0 wrong\n"
    valgrind = require_program("valgrind")
    done = support.run(valgrind, "--error-exitcode=9", program, "golden.bin", cwd=folders[kind])
    assert done.returncode == 0, done.stderr
    assert "ERROR SUMMARY: 0 errors" in done.stderr


def test_the_c_example_finds_a_wrong_prediction(folder):
    data = bytearray((folder / "golden.bin").read_bytes())
    data[-1] ^= 1
    (folder / "golden.bin").write_bytes(data)
    done = support.run(support.compiled_example(folder), "golden.bin", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "64 steps, 1 wrong\n")


def test_the_header_is_c_plus_plus(folder):
    done = support.run(require_program("g++"), "-x", "c++", "-Wall", "-Werror", "-fsyntax-only", folder / "model.h")
    assert done.returncode == 0, done.stderr


def test_create_refuses_memory_that_is_small_or_not_aligned(folders):
    library = ctypes.CDLL(str(folders["lstm"] / "libmodel.so"))
    for name in ("memory", "alignment"):
        getattr(library, f"model_{name}").restype = ctypes.c_size_t
    create = library.model_create
    create.restype, create.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)
    size = library.model_memory()
    memory = ctypes.create_string_buffer(size + 128)
    start = -(-ctypes.addressof(memory) // 64) * 64
    assert create(start, size) == start
    assert [create(start, size - 1), create(start + 4, size), create(None, size)] == [None] * 3


# --- what is refused ----------------------------------------------------------------------------------------------


def test_native_false_refuses_code(folders):
    with pytest.raises(InputError, match="native=False"):
        edgelstm.load(folders["lstm"], native=False)


@pytest.mark.parametrize("name", ["libmodel.so", "model.edgelstm", "golden.bin", "card.json"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(FormatError, match=name):
        edgelstm.load(folder)


@pytest.mark.parametrize("name", ["libmodel.so", "model.edgelstm", "golden.bin", "card.json"])
def test_a_truncated_file(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match=r"copy the folder again"):
        edgelstm.load(folder)


def test_others_may_not_write_to_the_library(folder):
    (folder / "libmodel.so").chmod(0o666)
    with pytest.raises(InputError, match="everybody can write"):
        edgelstm.load(folder)
    done = support.run(sys.executable, "-S", "-I", folder / "model.py")
    assert "others can write" in done.stderr.splitlines()[-1]


def _resealed(folder, name, data):
    """A file changed together with its hash, as a mistake would not, to see the checks behind that one."""
    import hashlib

    (folder / name).write_bytes(data)
    card = json.loads((folder / "card.json").read_text())
    card["files"][name]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def test_a_library_for_another_machine(folder):
    data = bytearray((folder / "libmodel.so").read_bytes())
    data[18:20] = (0xB7).to_bytes(2, "little")
    _resealed(folder, "libmodel.so", bytes(data))
    with pytest.raises(FormatError, match=rf"is for aarch64 \(64-bit\), this Python runs on {platform.machine()}"):
        edgelstm.load(folder)


def test_a_library_of_another_version(folder, monkeypatch):
    monkeypatch.setattr(native, "source_digest", lambda: "0" * 64)
    with pytest.raises(FormatError, match="another version of edgelstm"):
        edgelstm.load(folder)


def test_a_library_of_another_model(folder, folders):
    _resealed(folder, "model.edgelstm", (folders["gru"] / "model.edgelstm").read_bytes())
    with pytest.raises(FormatError, match="the library is of model"):
        edgelstm.load(folder)


def test_the_self_test_finds_a_library_that_computes_otherwise(folder):
    words = np.frombuffer((folder / "golden.bin").read_bytes(), np.float32).copy()
    words[-1] = np.nextafter(words[-1], np.float32(9))
    _resealed(folder, "golden.bin", words.tobytes())
    with pytest.raises(FormatError, match="self-test failed at golden reading 63"):
        edgelstm.load(folder)
    assert edgelstm.load(folder, self_test=False).stream().step([0.0] * 5).shape == (3,)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(FormatError, match=r"without card\.json"):
        edgelstm.load(tmp_path)


def test_a_folder_holds_one_model(folder):
    with pytest.raises(InputError, match="holds another model"):
        build(support.model("gru"), find(TARGET), folder, name="other")


@pytest.mark.parametrize("name", ["", "1st", "a b", "Model", "a;b", "a" * 50])
def test_a_name_that_c_would_not_take(tmp_path, name):
    with pytest.raises(InputError, match="--name: expected a C name"):
        build(support.model("lstm"), find(TARGET), tmp_path, name=name)


def test_streams_are_as_the_folder_was_built(tmp_path):
    require_module("ziglang")
    weights = support.torch_weights("lstm", 1)
    model = edgelstm.from_arrays(weights)
    out = build(model, find(TARGET), tmp_path, name="model", options=StreamOptions(window=4))
    xs = support.readings(9)
    found = edgelstm.load(out)
    assert np.array_equal(found.stream().run(xs), model.stream(window=4).run(xs))
    assert np.array_equal(found.stream(window=0).run(xs), model.stream().run(xs))


def test_pools_are_as_the_folder_was_built(folders):
    xs = support.readings(1, kind="silero")
    pools = edgelstm.load(folders["silero"]).pool(1), support.model("silero").pool(1, sizes=support.SIZES["silero"])
    assert np.array_equal(*(pool.step(["a"], xs) for pool in pools))


@pytest.mark.parametrize("told", [None, {"sizes": 3}, {"history": "long"}, {"window": -1}])
def test_a_card_with_damaged_options(folder, told):
    card = json.loads((folder / "card.json").read_text())
    card["stream"] = told and card["stream"] | told
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(FormatError, match="card is damaged"):
        edgelstm.load(folder)
