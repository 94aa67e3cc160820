"""Filters and topics, against paho's own matching of them."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from edgelstm.pipeline.topics import fill, is_filter, overlap
from tests.support import require_module

TOPICS = [
    "/".join(part) for size in (1, 2, 3) for part in product(("a", "b", "", "$x"), *[("a", "b", "")] * (size - 1))
]
FILTERS = st.tuples(st.lists(st.sampled_from(["a", "b", "", "+", "$x"]), min_size=1, max_size=3), st.booleans())


def as_text(made):
    levels, all_below = made
    return "/".join([*levels, "#"][: None if all_below else -1])


def matched(text):
    """The topics of at most three levels that match."""
    matches = require_module("paho.mqtt.client").topic_matches_sub
    return {topic for topic in TOPICS if matches(text, topic)}


@given(FILTERS.map(as_text).filter(is_filter))
def test_a_topic_overlaps_the_filters_that_it_matches(text):
    assert {topic for topic in TOPICS if overlap(topic, text)} == matched(text)
    assert {topic for topic in TOPICS if overlap(f"$share/some/{text}", topic)} == matched(text)


@given(FILTERS.map(as_text).filter(is_filter), FILTERS.map(as_text).filter(is_filter))
def test_filters_overlap_where_one_topic_matches_both(one, other):
    levels = {text.count("/") for text in (one, other)}
    if max(levels) < 3 and all("$" not in text.partition("/")[2] for text in (one, other)):  # what TOPICS hold
        assert overlap(one, other) == bool(matched(one) & matched(other))
    assert overlap(one, other) == overlap(other, one)


def test_patterns_take_levels():
    assert fill("{1}-{-1}:{topic}", "a/b/c") == "a-c:a/b/c"
    assert fill("{2}", "a//c") == ""
