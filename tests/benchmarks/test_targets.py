"""The table of targets: that every figure is one that is measured, and that verdicts follow from figures."""

import re

import pytest

from benchmarks import targets
from benchmarks.measure import Timing
from benchmarks.questions import question
from benchmarks.results import Row
from benchmarks.runtimes import NAMES
from benchmarks.targets import Check, Target


def exactly(value):
    return Timing(value, value, value)


def test_requests_ask_for_cases_that_there_are():
    for request in targets.requests(targets.TARGETS, 1, quick=False):
        cases = [str(case) for case in question(request.question).cases(quick=False)]
        wanted = {
            f"{check.group} {label}"
            for target in targets.TARGETS
            for check in target.checks
            if check.question == request.question
            for label in (check.label, check.their_label or check.label)
        }
        assert {case for case in cases if re.search(request.cases, case)} == wanted
        assert set(request.engines) <= set(NAMES)


def check(**more):
    return Check(**{"name": "32", "question": "steps", "group": "LSTM", "label": "16→32", "wanted": 2.0} | more)


def found(label="16→32", **figures):
    row = Row("LSTM", label, {name: exactly(value) for name, value in figures.items()}, {"ncnn": "no rows"}, bound=0.5)
    return {("steps", "LSTM", label): row, ("pools", "LSTM", label): row}


@pytest.mark.parametrize(
    ("one", "seen", "met"),
    [
        (check(theirs="litert"), 3.0, True),
        (check(theirs="litert", wanted=3.1), 3.0, False),
        (check(theirs="litert", question="pools"), 1 / 3, False),
        (check(at_most=True), 1.0, True),
        (check(at_most=True, wanted=0.9), 1.0, False),
        (check(theirs="bound", at_most=True), 2.0, True),
        (check(theirs="bound", at_most=True, wanted=1.3), 2.0, False),
    ],
)
def test_a_figure_against_what_was_wanted(one, seen, met):
    value = one.seen(found(edgelstm=1.0, litert=3.0))
    assert value == pytest.approx(seen)
    assert one.met(value) is met


def test_a_row_names_what_it_missed_and_what_could_not_be_measured():
    target = Target(
        "work",
        "peer",
        (check(theirs="litert"), check(name="64", theirs="litert", wanted=4), check(name="8", theirs="ncnn")),
    )
    line = target.line(found(edgelstm=1.0, litert=3.0))
    assert line == ["work", "peer", "2× / 4× / 2×", "3.00× / 3.00× / no rows", "missed: 64; not measured: 8"]


def test_two_threads_are_compared_with_the_row_of_one():
    one = check(label="2", theirs="edgelstm", their_label="1", wanted=1.5)
    rows = found("2", edgelstm=1.0) | found("1", edgelstm=1.75)
    assert one.seen(rows) == pytest.approx(1.75)
