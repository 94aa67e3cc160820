"""Snapshots: what is written reads back to the bit; everything else is refused, each reason by its own test."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelstm.errors import StateError
from edgelstm.runtime.snapshot import KEY, VERSION, pack, unpack
from tests.runtime.models import HIDDEN, forecaster, model, readings, stateful

pytest.importorskip("numba")

XS = readings(5)
EXPECTED = {"a": np.zeros((2, 3), np.float32), "n": np.zeros(1, np.int32)}


def blob_of(stamp, states):
    return safetensors.numpy.save(states, {KEY: stamp if isinstance(stamp, str) else json.dumps(stamp)})


def test_round_trip_to_the_bit():
    bits = np.array([0, 1 << 31, 0x7FC00001, 0xFF800000, 1, 0x3F800000], np.uint32).view(np.float32).reshape(2, 3)
    blob = pack("m", {"a": bits, "n": np.array([-7], np.int32)})
    back = unpack(blob, "m", EXPECTED, {})
    assert back["a"].tobytes() == bits.tobytes()
    assert back["n"] == -7


def test_equal_states_give_equal_bytes():
    assert pack("m", EXPECTED) == pack("m", dict(reversed(EXPECTED.items())))


def test_states_without_axes_keep_their_shape():
    value = {"z": np.array(1.5, np.float32)}
    assert unpack(pack("m", value), "m", value, {})["z"].shape == ()


def test_bytes_like_objects():
    blob = pack("m", EXPECTED)
    assert set(unpack(bytearray(blob), "m", EXPECTED, {})) == {"a", "n"}
    assert set(unpack(memoryview(blob), "m", EXPECTED, {})) == {"a", "n"}


def refused(blob, match):
    with pytest.raises(StateError, match=match):
        unpack(blob, "m", EXPECTED, {"held:x": np.zeros(3, np.float32)})


@pytest.mark.parametrize("value", ["text", None, 3, [1]])
def test_what_is_no_bytes(value):
    refused(value, "a snapshot is bytes, got")


@pytest.mark.parametrize("blob", [b"", b"x", b"not a snapshot" * 20, (1 << 60).to_bytes(8, "little")])
def test_bytes_that_are_no_snapshot(blob):
    refused(blob, "not a whole snapshot")


def test_truncated():
    whole = pack("m", EXPECTED)
    for length in range(0, len(whole), 7):
        refused(whole[:length], "not a whole snapshot")


def test_safetensors_without_a_stamp():
    refused(safetensors.numpy.save(EXPECTED), "not a whole snapshot")
    refused(safetensors.numpy.save(EXPECTED, {"other": "x"}), "not a whole snapshot")


@pytest.mark.parametrize("stamp", ["", "[1]", "3", "{", '"x"', "null"])
def test_a_stamp_that_is_no_table(stamp):
    refused(blob_of(stamp, EXPECTED), "not a whole snapshot")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version(version):
    refused(blob_of({"version": version, "model": "m"}, EXPECTED), "snapshot version .* reads 1")


@pytest.mark.parametrize("hashed", ["n", None, 5])
def test_another_model(hashed):
    refused(blob_of({"version": VERSION, "model": hashed}, EXPECTED), "belongs to the model")


@pytest.mark.parametrize(
    "states",
    [
        {},
        {"a": EXPECTED["a"]},
        {**EXPECTED, "more": np.zeros(1, np.float32)},
        {**EXPECTED, "a": np.zeros((3, 2), np.float32)},
        {**EXPECTED, "a": np.zeros((2, 3), np.float64)},
        {**EXPECTED, "held:y": np.zeros(3, np.float32)},
        {**EXPECTED, "held:x": np.zeros(4, np.float32)},
    ],
)
def test_other_states(states):
    refused(blob_of({"version": VERSION, "model": "m"}, states), "this snapshot holds")


def test_held_readings_come_with_all_states_or_not_at_all():
    held = {"held:x": np.ones(3, np.float32)}
    full = unpack(pack("m", {**EXPECTED, **held}), "m", EXPECTED, held)
    assert set(full) == {"a", "n", "held:x"}


# In streams.


def test_a_snapshot_of_another_model():
    blob = model(seed=1).stream().snapshot()
    stream = model(seed=0).stream()
    stream.step(XS[0])
    before = stream.snapshot()
    with pytest.raises(StateError, match=r"belongs to the model .* restore it into a stream of its own model"):
        stream.restore(blob)
    assert stream.snapshot() == before


def test_a_snapshot_of_the_same_model_loaded_again():
    stream = model().stream()
    stream.run(XS[:3])
    other = model().stream()
    other.restore(stream.snapshot())
    np.testing.assert_array_equal(other.step(XS[3]), stream.step(XS[3]))


def test_a_snapshot_does_not_depend_on_metadata():
    stream, other = model().stream(), model(forecaster, metadata={"name": "renamed"}).stream()
    stream.run(XS[:3])
    other.restore(stream.snapshot())
    assert other.snapshot() == stream.snapshot()


def test_a_snapshot_with_nan_in_a_state():
    """What propagated into the state comes back as it was, to the bit."""
    stream = model().stream(on_invalid="propagate")
    stream.step([np.nan, 0, 0])
    other = model().stream(on_invalid="propagate")
    other.restore(stream.snapshot())
    assert other.snapshot() == stream.snapshot()


def test_a_snapshot_of_a_stream_that_holds_in_one_that_does_not():
    holding = model().stream(on_invalid="hold")
    holding.run(XS[:2])
    plain = model().stream()
    plain.restore(holding.snapshot())
    np.testing.assert_array_equal(plain.step(XS[2]), holding.step(XS[2]))
    back = model().stream(on_invalid="hold")
    back.restore(plain.snapshot())
    with pytest.raises(ValueError, match="no good reading"):
        back.step([np.nan, 0, 0])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_snapshots_leave_the_state(data):
    stream = model(stateful).stream()
    stream.step(XS[0])
    before = stream.snapshot()
    raw = bytearray(before)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        stream.restore(bytes(raw))
    except StateError:
        assert stream.snapshot() == before
    else:
        assert stream.state["h0"].shape == (1, 1, HIDDEN)
