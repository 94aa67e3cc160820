"""Messages in, messages out: what passes through, and what is refused with a reason."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelstm.pipeline import influx
from edgelstm.pipeline.formats import Fields, MalformedError, make_format, read_number
from edgelstm.pipeline.reading import Prediction

FIELDS = Fields(("a", "b"), key="id", sequence="n", time="t")


def answer(reading, **outputs):
    return Prediction(reading.key, outputs or {"p": 0.5}, reading.sequence, reading.time, reading.context)


def test_json_passes_other_fields_through():
    form = make_format("json", FIELDS, ["p"])
    reading = form.read(b'{"id":"x","n":7,"t":"2024-01-01T00:00:00+00:00","a":1,"b":"2.5","room":"hall"}', 3.0)
    assert (reading.key, reading.sequence, reading.time, reading.values) == ("x", 7, 1704067200.0, {"a": 1, "b": 2.5})
    out = json.loads(form.write(answer(reading)))
    assert out == {**json.loads(b'{"id":"x","n":7,"a":1,"b":"2.5","room":"hall"}'), "t": reading.context["t"], "p": 0.5}


def test_json_never_writes_what_json_is_not():
    form = make_format("json", FIELDS, ["p"])
    reading = form.read(b'{"id":1,"n":7,"t":0,"a":NaN,"b":1e999}', 0.0)
    assert math.isnan(reading.values["a"])
    text = form.write(answer(reading, p=math.inf)).decode()
    assert not re.search("NaN|Infinity", text)


@pytest.mark.parametrize(
    ("kind", "message", "why"),
    [
        ("json", b"\xff{}", "UTF-8 at byte 0"),
        ("json", b"[" * 100_000, "not JSON"),
        ("json", b"[1]", "expected an object"),
        ("json", b'{"id":null}', "the key is missing"),
        ("json", b'{"id":true}', "the key"),
        ("json", b'{"id":1,"id":2}', "stands twice"),
        ("json", b'{"id":1,"n":1.5,"t":0}', "sequence"),
        ("json", b'{"id":1,"n":1e300,"t":0}', "sequence"),
        ("json", b'{"id":1,"n":1,"t":"noon"}', "time"),
        ("json", b'{"id":' + b"9" * 5000 + b"}", "JSON|key"),
        ("csv", b"x,1", "expected 5 columns, got 2"),
        ("csv", b'x,"1,2,3,4', "not CSV|columns"),
        ("influx", b"cpu", "column 4: expected a space"),
        ("influx", b"cpu a=1,a=2", "stands twice"),
        ("influx", b"cpu a=1 noon", "timestamp"),
        ("influx", b",x a=1", "expected a measurement"),
        ("plain", b"1 2 3", "expected 2 numbers, got 3"),
    ],
)
def test_malformed_messages_say_why(kind, message, why):
    form = make_format(kind, FIELDS, ["p"], ("id", "n", "t", "a", "b"))
    with pytest.raises(MalformedError, match=why):
        form.read(message, 0.0)


@given(st.binary(max_size=60), st.sampled_from(["json", "csv", "influx", "plain"]))
def test_no_bytes_do_anything_else(message, kind):
    form = make_format(kind, FIELDS, ["p"], ("id", "n", "t", "a", "b"))
    try:
        reading = form.read(message, 0.0)
    except MalformedError:
        return
    if reading is not None:
        assert all(isinstance(value, float) for value in reading.values.values())
        assert isinstance(form.write(answer(reading)), bytes)


def test_csv_takes_a_header_and_passes_columns_through():
    form = make_format("csv", Fields(("a", "b")), ["p"])
    assert form.read(b"\xef\xbb\xbfwhen,a,b,note", 0.0) is None
    reading = form.read(b'noon,1,,"x, y"', 0.0)
    assert (reading.key, reading.values["a"]) == ("stream", 1.0)
    assert math.isnan(reading.values["b"])
    assert form.header == b"when,a,b,note,p"
    assert form.write(answer(reading)) == b'noon,1,,"x, y",0.5'
    with pytest.raises(MalformedError, match="no column 'b'"):
        make_format("csv", Fields(("a", "b")), []).read(b"a,c", 0.0)
    with pytest.raises(MalformedError, match="stands twice"):
        make_format("csv", Fields(("a",)), []).read(b"a,a", 0.0)


def test_influx_keeps_series_fields_and_timestamps():
    form = make_format("influx", Fields(("a", "b")), ["p"])
    text = rb'we\ ather,city=a\,b,x\=y=1 a=1i,b=2.5,c="q \" , =",d=t 1700000000000000001'
    reading = form.read(text, 0.0)
    assert reading.values == {"a": 1.0, "b": 2.5}
    assert reading.key == r"we\ ather,city=a\,b,x\=y=1"
    assert reading.time == 1700000000.0
    assert form.write(answer(reading)) == text[:-20] + b",p=0.5 1700000000000000001"
    assert form.read(b"# comment", 0.0) is None
    assert form.write(answer(form.read(b"m a=1,b=2", 0.0), p=math.nan)) == b"m a=1,b=2"


def test_influx_numbers():
    assert [influx.number(text) for text in ("1i", "2u", "-1e3", "t", "False")] == [1, 2, -1000, 1, 0]
    assert influx.number('"1"') is None
    assert math.isnan(influx.number("one"))


def test_plain_numbers():
    form = make_format("plain", Fields(("a", "b")), ["p"])
    reading = form.read(b" 1, 2.5\n", 0.0, key="k")
    assert (reading.key, reading.values) == ("k", {"a": 1.0, "b": 2.5})
    assert form.write(answer(reading, p=1.5, q=2.0)) == b"1.5 2.0"


def test_what_json_cannot_say_is_told_without_it():
    form = make_format("json", Fields(("a", "b"), key="id"), ["p"])
    reading = form.read(rb'{"id":"x","a":1,"b":2,"deep":[NaN,{"q":Infinity}],"half":"\ud800","whole":"\u00e9"}', 0.0)
    text = form.write(answer(reading))
    found = json.loads(text.decode("utf-8"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == {"id": "x", "a": 1, "b": 2, "deep": None, "half": "\ud800", "whole": "é", "p": 0.5}
    with pytest.raises(MalformedError, match="the key"):
        form.read(rb'{"id":"\ud800","a":1,"b":2}', 0.0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("json", b'{"id":"k","t":60000.0,"p":0.5}'),
        ("csv", b"k,,60000.0,,,0.5"),
        ("influx", b"k p=0.5 60000000000"),
        ("plain", b"0.5"),
    ],
)
def test_resampled_predictions_tell_key_and_time(kind, expected):
    fields = Fields(("a", "b"), key="id", time="t", unit="ms")
    form = make_format(kind, fields, ["p"], ("id", "n", "t", "a", "b"))
    assert form.write(Prediction("k", {"p": 0.5}, 0, 60.0, None)) == expected
    assert b"60000" not in form.write(Prediction("k", {"p": 0.5}, 0, None, None))


def test_a_message_that_is_one_number():
    fields = Fields(("a", "b"))
    assert read_number(fields, "b", b" 2.5\n", 3.0, "k").values == {"b": 2.5}
    assert math.isnan(read_number(fields, "b", b"", 3.0, "k").values["b"])
    for name, message in (("c", b"1"), ("a", b"\xff")):
        with pytest.raises(MalformedError, match=r"no feature|UTF-8"):
            read_number(fields, name, message, 0.0, None)
