"""The C example of the documentation: builds without a warning, forecasts, and goes on after a restart."""

import shutil

import pytest

from edgelstm.machine import native
from edgelstm.machine.targets import find
from edgelstm.native.build import build
from edgelstm.runtime.load import from_arrays
from tests.native import support
from tests.support import require_module, require_program

pytestmark = pytest.mark.skipif("x86-64-v3" not in native.suitable(), reason="runs the library for x86-64 with AVX2")


@pytest.fixture(scope="module")
def sensor(tmp_path_factory):
    require_module("ziglang")
    require_module("numba")
    folder = tmp_path_factory.mktemp("example")
    model = from_arrays(support.torch_weights("lstm", 1))
    build(model, find("x86-64-v3"), folder, name="model")
    shutil.copy(support.ROOT / "examples/c/sensor.c", folder)
    flags = ("-O2", "-Wall", "-Wextra", "-Werror")
    done = support.run(require_program("gcc"), *flags, "sensor.c", "libmodel.a", "-o", "sensor", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, model


def lines(rows):
    return "".join(" ".join(f"{value:.9g}" for value in row) + "\n" for row in rows)


def forecasts(rows):
    return "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows)


def test_it_forecasts_and_goes_on_after_a_restart(sensor, tmp_path):
    folder, model = sensor
    xs = support.readings(20)
    expected = model.stream().run(xs)
    for rows, wanted in ((xs[:12], expected[:12]), (xs[12:], expected[12:])):
        done = support.run(folder / "sensor", tmp_path / "state", input=lines(rows))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == forecasts(wanted.astype(float))


def test_a_reading_that_is_no_number_is_left_out(sensor, tmp_path):
    folder, model = sensor
    (x,) = support.readings(1)
    done = support.run(folder / "sensor", tmp_path / "state", input="nan 0 0 0 0\n" + lines([x]))
    assert "left out" in done.stderr
    assert done.stdout == forecasts([model.stream().step(x).astype(float)])


def test_a_state_of_another_model_is_refused(sensor, tmp_path):
    folder, _ = sensor
    (tmp_path / "state").write_bytes(b"x" * 5000)
    done = support.run(folder / "sensor", tmp_path / "state", input=lines(support.readings(1)))
    assert "not a state of this model" in done.stderr
