"""The Python in docs/state-dicts.md runs (but for the first block, whose files are not there)."""

import re
from pathlib import Path

import edgelstm

PAGE = Path(__file__).parents[3] / "docs" / "state-dicts.md"


def test_the_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names = {"edgelstm": edgelstm}
    for block in blocks[1:]:
        exec(block, names)
    assert names["model"].stream().step([1.0, 2.0, 3.0]).shape == (8,)


def test_every_kind_is_listed():
    from edgelstm_converters.layers import KINDS

    text = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in (*KINDS, "ignore") if f"`{kind}`" not in text] == []
