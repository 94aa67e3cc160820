"""State dicts in files: .pt and .pth through torch, .safetensors without it; anything else is refused."""

import contextlib
import json
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from edgelstm_converters import array_book
from edgelstm_converters.safetensors_file import read_safetensors
from edgelstm_converters.torch import load_state_dict
from safetensors.numpy import save_file

from edgelstm.errors import DependencyError, FormatError, InputError, UnsupportedError
from tests.converters.evaluate import evaluate
from tests.support import require_module

torch = require_module("torch")


@pytest.fixture
def module():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 4, 2, batch_first=True), "fc": torch.nn.Linear(4, 2)})


X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)


def expected(module):
    with torch.no_grad():
        return module["fc"](module["lstm"](torch.from_numpy(X))[0]).numpy()


def check(made, module):
    np.testing.assert_allclose(evaluate(made.graph, X), expected(module), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["m.pt", "m.pth"])
def test_torch_files(tmp_path, module, name):
    torch.save(module.state_dict(), tmp_path / name)
    check(load_state_dict(tmp_path / name), module)
    check(
        load_state_dict(str(tmp_path / name), [{"kind": "lstm", "arrays": "lstm"}, {"kind": "linear", "arrays": "fc"}]),
        module,
    )


def test_safetensors_files(tmp_path, module):
    save_file({name: value.numpy() for name, value in module.state_dict().items()}, tmp_path / "m.safetensors")
    check(load_state_dict(tmp_path / "m.safetensors"), module)


def test_safetensors_in_bfloat16(tmp_path, module):
    from safetensors.torch import save_file as save_tensors

    state = {name: value.to(torch.bfloat16) for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    save_tensors(state, tmp_path / "m.safetensors")
    made = load_state_dict(tmp_path / "m.safetensors")
    check(made, module)
    assert any("10 bfloat16 arrays were widened" in line for line in made.report)
    arrays, _ = read_safetensors(tmp_path / "m.safetensors")
    for name, value in state.items():
        np.testing.assert_array_equal(arrays[name], value.float().numpy())


def test_safetensors_need_no_torch(tmp_path, module):
    save_file({name: value.numpy() for name, value in module.state_dict().items()}, tmp_path / "m.safetensors")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from edgelstm_converters.torch import load_state_dict\n"
        "print(len(load_state_dict(sys.argv[1]).graph.nodes))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "m.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert int(done.stdout) > 2


def test_without_torch_the_extra_is_named(tmp_path, module, monkeypatch):
    torch.save(module.state_dict(), tmp_path / "m.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DependencyError, match=r"needs torch, .*edgelstm\[torch\]"):
        load_state_dict(tmp_path / "m.pt")


@pytest.mark.parametrize("key", ["state_dict", "model", "net"])
def test_checkpoints_are_read_through_their_one_state_dict(tmp_path, module, key):
    torch.save({"epoch": 3, key: module.state_dict(), "optimizer": {"lr": 0.1}}, tmp_path / "c.pt")
    made = load_state_dict(tmp_path / "c.pt")
    check(made, module)
    assert any(f"under the key {key!r}" in line for line in made.report)
    assert any("left out of the checkpoint: 'epoch', 'optimizer'" in line for line in made.report)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda m: {"student": m.state_dict(), "teacher": m.state_dict()}, "found several: 'student', 'teacher'"),
        (lambda m: {"ema": {"a": torch.ones(2)}, **m.state_dict()}, "found several: 'ema'"),
        (lambda m: list(m.state_dict().values()), "expected a dict of tensors, got list"),
        (lambda m: m, "found a pickled module or other code, which is never run: .*state_dict"),
    ],
)
def test_files_that_hold_something_else(tmp_path, module, content, says):
    torch.save(content(module), tmp_path / "m.pt")
    with pytest.raises(UnsupportedError, match=says):
        load_state_dict(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path, module):
    torch.jit.script(module["lstm"]).save(tmp_path / "m.pt")
    with pytest.raises(UnsupportedError, match="a TorchScript program, which is never run"):
        load_state_dict(tmp_path / "m.pt")


def test_the_form_before_1_6_is_refused(tmp_path, module):
    torch.save(module.state_dict(), tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsupportedError, match=r"the file format before PyTorch 1\.6"):
        load_state_dict(tmp_path / "m.pt")


def test_code_in_a_pickle_is_not_run(tmp_path, module):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "made"), "w")

    torch.save({**module.state_dict(), "evil": Evil()}, tmp_path / "m.pt")
    with pytest.raises(UnsupportedError, match="which is never run"):
        load_state_dict(tmp_path / "m.pt")
    assert not (tmp_path / "made").exists()


def test_no_weights_at_all(tmp_path):
    torch.save({"epoch": 1}, tmp_path / "m.pt")
    with pytest.raises(FormatError, match="expected weights, found no array"):
        load_state_dict(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
def test_every_truncated_file_is_refused(tmp_path, module, name):
    path = tmp_path / name
    if name.endswith("pt"):
        torch.save(module.state_dict(), path)
    else:
        save_file({key: value.numpy() for key, value in module.state_dict().items()}, path)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 100, *range(200, len(whole), 397), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=name):
            load_state_dict(path)


def test_flipped_bytes_never_give_another_exception(tmp_path, module):
    torch.save(module.state_dict(), tmp_path / "m.pt")
    whole = (tmp_path / "m.pt").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(whole)
        for position in rng.integers(0, len(whole), 4):
            broken[position] = rng.integers(256)
        (tmp_path / "m.pt").write_bytes(broken)
        with contextlib.suppress(FormatError, UnsupportedError, InputError):
            load_state_dict(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
def test_files_that_are_not_what_they_claim(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>not found</html>" * 50)
    with pytest.raises(FormatError, match=name):
        load_state_dict(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_state_dict(tmp_path / f"other_{name}")
    with pytest.raises(FormatError, match="expected a file, got a folder"):
        load_state_dict(tmp_path)


def test_a_compressed_archive_is_refused_before_it_unpacks(tmp_path, module):
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with (
        zipfile.ZipFile(tmp_path / "m.pt") as source,
        zipfile.ZipFile(tmp_path / "z.pt", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for entry in source.namelist():
            out.writestr(entry, source.read(entry))
    with pytest.raises(FormatError, match=r"is compressed; torch\.save never compresses"):
        load_state_dict(tmp_path / "z.pt")


def test_a_tensor_that_repeats_one_value_without_end(tmp_path, module):
    state = {**module.state_dict(), "fc.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"'fc.weight': expected at most \d+ bytes as float32"):
        load_state_dict(tmp_path / "m.pt")


def test_file_sizes_are_checked_first(tmp_path, module, monkeypatch):
    torch.save(module.state_dict(), tmp_path / "m.pt")
    save_file({name: value.numpy() for name, value in module.state_dict().items()}, tmp_path / "m.safetensors")
    for where in ("torch.state_dict", "safetensors_file"):
        monkeypatch.setattr(f"edgelstm_converters.{where}.MAX_BYTES", 100)
    for name in ("m.pt", "m.safetensors"):
        with pytest.raises(FormatError, match="expected at most 100 bytes, got"):
            load_state_dict(tmp_path / name)
    assert array_book.MAX_BYTES > 100


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, "not a whole safetensors file"),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}, "not a whole safetensors file"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, "not a whole safetensors file"),
        (
            {"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}},
            "'a': expected float weights, got dtype F8",
        ),
    ],
)
def test_hostile_safetensors_headers(tmp_path, header, says):
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 8)
    with pytest.raises(FormatError, match=says):
        load_state_dict(tmp_path / "m.safetensors")
