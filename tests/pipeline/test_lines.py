"""Lines of a file descriptor, whatever pieces they come in, and the place in the file that they stand for."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelstm.pipeline.config import make_config
from edgelstm.pipeline.log import Log
from edgelstm.pipeline.service import Service
from edgelstm.pipeline.stdio import Lines, Stop, serve
from edgelstm.runtime.model import Model
from tests.runtime import models

pytest.importorskip("numba")


def feed(lines, write, pieces):
    """Every line with the offset after it."""
    found = []
    for piece in pieces:
        os.write(write, piece)
        for line in lines.wait(0):
            lines.took(line)
            found.append((line, lines.offset))
    os.close(write)
    while (rest := lines.wait(0)) is not None:
        for line in rest:
            lines.took(line)
            found.append((line, lines.offset))
    return found


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12),
    st.booleans(),
    st.lists(st.integers(1, 40), min_size=40, max_size=40),
)
def test_offsets_are_those_of_the_file(lengths, ended, sizes):
    """Lines of more than 16 bytes are cut, and what is cut off counts."""
    whole = [bytes([65 + n]) * length for n, length in enumerate(lengths)]
    text = b"\n".join(whole) + b"\n" * ended
    pieces, start = [], 0
    for size in sizes:
        pieces.append(text[start : start + size])
        start += size
    pieces.append(text[start:])
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as source:
        found = feed(Lines(source, 16), write, [piece for piece in pieces if piece])
    given = whole if ended or whole[-1] else whole[:-1]
    assert [len(line) > 16 for line, _ in found] == [len(line) > 16 for line in given]
    assert [line for line, _ in found if len(line) <= 16] == [line for line in given if len(line) <= 16]
    ends = [sum(len(line) + 1 for line in given[: n + 1]) for n in range(len(given))]
    assert [offset for _, offset in found] == ends


@pytest.mark.parametrize("asked", [False, True])
def test_the_last_line_may_lack_its_end_unless_a_signal_came(tmp_path, asked):
    """At the end of the input it is a line; a sender that the signal ended as well left half of one."""
    Model(models.forecaster()).save(tmp_path / "m.edgelstm")
    settings = {"model_path": str(tmp_path / "m.edgelstm"), "input_format": "plain"}
    service, target, stop = Service(make_config(settings), Log()), io.BytesIO(), Stop()
    stop.asked = asked
    read, write = os.pipe()
    os.write(write, b"1 2 3\n1 2 3")
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as source:
        serve(service, source, target, stop)
    assert target.getvalue().count(b"\n") == (1 if asked else 2)


def test_a_line_that_never_ends_takes_no_memory():
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as source:
        lines = Lines(source, 1000)
        for _ in range(300):
            os.write(write, b"x" * 5000)
            assert lines.wait(0) == []
            assert len(lines._rest) <= 2000
        os.write(write, b"\nnext\n")
        first, second = lines.wait(0)
        os.close(write)
    assert len(first) > 1000
    assert second == b"next"
