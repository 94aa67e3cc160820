"""docs/keras.md names every layer and function, and its list of layers for arrays alone works."""

import re
from pathlib import Path

from tests.support import require_module

require_module("edgelstm_converters.keras")

PAGE = (Path(__file__).parents[3] / "docs" / "keras.md").read_text(encoding="utf-8")


def test_every_layer_is_listed():
    layers = require_module("edgelstm_converters.keras.layers").LAYERS
    rows = "".join(re.findall(r"^\|(.*?)\|", PAGE, re.MULTILINE)) + PAGE.split("Other names of the same classes:")[1]
    listed = set(re.findall(r"`([A-Z]\w+)`", rows.split("Functions between layers")[0]))
    assert listed == {*layers, "InputLayer"}


def test_every_function_is_listed():
    functions = require_module("edgelstm_converters.keras.functions")
    between = {*functions._SIMPLE, *functions.COMPOSED, "hard_sigmoid", "linear"} - {"exp"} | {"exponential"}
    text = PAGE.split("Functions between layers:")[1]
    first, second = text.split("Inside a cell:")
    assert set(re.findall(r"`(\w+)`", first)) == between | {"swish", "hard_swish"}
    assert set(re.findall(r"`(\w+)`", second.split("\n\n")[0])) == {*functions._CELLS, "linear"}
