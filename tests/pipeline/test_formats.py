"""Messages in, messages out: what passes through, and what is refused with a reason."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelstm.errors import InputError
from edgelstm.pipeline import influx
from edgelstm.pipeline.fields import Fields, MalformedError
from edgelstm.pipeline.formats import make_format, read_number
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
        ("influx", b"cpu a=1,n=1i", "the timestamp is missing"),
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
    twins = make_format("csv", Fields(("a",)), ["p"])
    assert twins.read(b"a,,", 0.0) is None  # columns that only pass through may be called alike
    assert twins.write(answer(twins.read(b"1,x,y", 0.0))) == b"1,x,y,0.5"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"id,n,when,a", "got 'id', 'n', 'when', 'a'; missing: 'b' of model.features, 't' of input.time"),
        (b"1,2,3,4,5", "missing: 'a' of model.features.*input.columns"),
        (b"id,n,t,a,b,a", "column 'a' stands twice"),
        (b"id,n,t,a,b,gr\xf6", "first line of the CSV, its header, cannot be read: not UTF-8 at byte 13"),
        (b'id,n,t,a,"b', "first line of the CSV, its header, cannot be read: not CSV"),
        (b"id,n,t,a,b,p", "the output 'p' .* would replace it: set model.outputs"),
    ],
)
def test_a_header_that_cannot_serve_is_refused_at_once(header, why):
    """Whatever else is set: a column that is not there never comes."""
    for parts in (False, True):
        fields = Fields(FIELDS.features, FIELDS.key, FIELDS.sequence, FIELDS.time, parts=parts)
        with pytest.raises(InputError, match=why):
            make_format("csv", fields, ["p"]).read(header, 0.0)
    if b"p" not in header and header.isascii() and b'"' not in header:
        with pytest.raises(InputError, match=r"^input\.columns: "):
            make_format("csv", FIELDS, ["p"], header.decode().split(","))


def test_empty_cells_hold_nothing_where_readings_are_put_together():
    whole, parts = (make_format("csv", Fields(("a", "b"), parts=p), [], ["a", "b"]) for p in (False, True))
    assert parts.read(b"1, ", 0.0).values == {"a": 1.0}
    assert math.isnan(whole.read(b"1, ", 0.0).values["b"])


def test_a_header_that_comes_again_is_no_reading():
    """As files put one behind the other have it."""
    form = make_format("csv", Fields(("a", "1")), [])
    assert form.read(b"x,a,1", 0.0) is None
    assert form.read(b"0,2,3", 0.0).values == {"a": 2, "1": 3}
    assert form.read(b"x,a,1", 0.0) is not None  # for the column is called like a number
    form = make_format("csv", Fields(("a", "b"), key="id"), [], ["id", "a", "b"])
    assert form.read(b"id,a,b", 0.0) is None
    with pytest.raises(MalformedError, match="the key is missing"):
        form.read(b",1,2", 0.0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("json", b'{"a":1,"b":2}'), ("csv", b"1,2"), ("influx", b"m a=1,b=2"), ("plain", b"1 2")],
)
def test_a_byte_order_mark_is_no_part_of_a_message(kind, message):
    form = make_format(kind, Fields(("a", "b")), [], ["a", "b"])
    plain, marked = form.read(message, 0.0), form.read(b"\xef\xbb\xbf" + message, 0.0)
    assert plain == marked
    assert plain.values == {"a": 1.0, "b": 2.0}


def test_an_output_never_replaces_a_field():
    for kind, message in (("json", b'{"a":1,"p":2}'), ("influx", b"m a=1,p=2")):
        with pytest.raises(MalformedError, match="the output 'p' would replace the field"):
            make_format(kind, Fields(("a",)), ["o", "p"]).read(message, 0.0)
        free = make_format(kind, Fields(("a",), passes=False), ["p"])  # nothing of the message comes out again
        assert free.read(message, 0.0).values == {"a": 1.0}
    known = [("json", name) for name in ("a", "b", "id", "n", "t")] + [("influx", name) for name in ("a", "b", "n")]
    for kind, name in known:
        with pytest.raises(InputError, match=f"the output '{name}'"):
            make_format(kind, FIELDS, ["q", name])
    with pytest.raises(InputError, match="the output 'key'"):
        make_format("json", Fields(("a",), passes=False), ["key"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_objects_are_written_as_the_standard_library_does(content):
    form = make_format("json", Fields(()), ["p"])
    out = form.write(Prediction("k", {}, None, None, content)).decode()
    try:
        plain = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        plain.encode()
    except (ValueError, UnicodeEncodeError):
        assert json.loads(out).keys() == content.keys()
        return
    assert out == plain


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
    assert math.isnan(influx.number("1_000"))


def test_numbers_are_not_written_as_in_python():
    form = make_format("csv", Fields(("a",), sequence="n", time="t"), [], ["a", "n", "t"])
    assert math.isnan(form.read(b"1_000,1,1", 0.0).values["a"])
    assert form.read(b" 1, 2, 2024-01-01T00:00:00+00:00 ", 0.0)[2:4] == (2, 1704067200.0)
    for message in (b"1,1_0,1", b"1,1,1_0"):
        with pytest.raises(MalformedError):
            form.read(message, 0.0)


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
