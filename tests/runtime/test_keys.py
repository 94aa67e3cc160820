"""The compiled table of keys against the dict that it stands beside."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.machine.objects import WAYS, layout
from edgelstm.runtime.model import Model
from edgelstm.runtime.roster import Roster
from tests.runtime import models

pytestmark = pytest.mark.skipif(layout() is None, reason="this Python's objects are laid out otherwise")

CAPACITY = 40


@pytest.fixture(scope="module")
def make():
    """Gives a fresh roster with its table."""
    pool = Model(models.forecaster()).pool(capacity=1)
    if pool._table is None:
        pytest.skip("needs the compiled machine")

    def fresh(capacity=CAPACITY):
        return Roster(capacity, lambda: 0, pool._engine.key_table(capacity))

    return fresh


def again(key):
    """An equal key that is another object, as far as Python makes one."""
    if isinstance(key, str):
        return "".join([key[:1], key[1:]])
    if isinstance(key, bytes):
        return bytes(bytearray(key))
    return int(str(key))


KEYS = st.one_of(
    st.text(st.characters(codec="ascii"), max_size=20),
    st.text(max_size=9),
    st.binary(max_size=20),
    st.integers(),
    st.sampled_from(["1", b"1", 1, "", b"", 0, -1, "\0", "\0\0", b"\0", "a" * 500, 2**30, -(2**30), 2**60, -(2**200)]),
)
READ = (bytes, int)  # and strings of ASCII: what the table reads


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(KEYS, min_size=1, max_size=12)), min_size=1, max_size=12))
def test_the_table_finds_what_the_dict_finds(make, calls):
    roster = make()
    for leave, keys in calls:
        if leave:
            roster.drop([key for key in dict.fromkeys(keys) if key in roster.index])
        else:
            new = [key for key in dict.fromkeys(keys) if key not in roster.index]
            roster.add(new[: len(roster.free)])
        for key in [*keys, *roster.index]:
            found = roster.table.slots([again(key)])
            plain = isinstance(key, READ) or key.isascii()
            if key in roster.index and plain:
                assert found is not None
                assert found[0].tolist() == [roster.index[key]]
            else:
                assert found is None
        there = [key for key in roster.index if isinstance(key, READ) or key.isascii()]
        assert roster.table.slots(there)[0].tolist() == [roster.index[key] for key in there]


class Name(str):
    __slots__ = ()


OTHERS = [True, 1.0, None, Name("pump"), np.int64(1), np.str_("pump"), ["pump"], "né", "\ud800"]


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_plain_key_is_left_to_the_dict(make, other):
    roster = make()
    roster.add(["pump", 1])
    assert roster.table.slots(["pump", other]) is None
    assert roster.table.slots(["pump", 1])[0].tolist() == [roster.index["pump"], roster.index[1]]


def test_tuples_and_arrays_are_lists_of_keys(make):
    roster = make()
    roster.add(["a", "b", 7])
    slots = roster.index
    assert roster.table.slots(("b", 7))[0].tolist() == [slots["b"], slots[7]]
    assert roster.table.slots(np.array(["b", "a"]))[0].tolist() == [slots["b"], slots["a"]]
    assert roster.table.slots(np.array([7, 7]))[0].tolist() == [slots[7], slots[7]]
    assert roster.table.slots(np.array([["a", "b"]])) is None
    assert roster.table.slots({"a": 1}) is None


def test_every_one_of_many_keys_is_found(make):
    """Buckets that are full pass keys on to their neighbours; a capacity just below a power of two fills them most."""
    count = 2**15 - 2
    roster = make(count)
    names = [f"site/{n % 7}/pump/{n}" for n in range(count)]
    roster.add(names)
    wanted = [roster.index[name] for name in names]
    assert roster.table.slots([again(name) for name in names])[0].tolist() == wanted
    roster.drop(names[::2])
    assert roster.table.slots(names[:1]) is None
    assert roster.table.slots([again(name) for name in names[1::2]])[0].tolist() == wanted[1::2]


def test_keys_whose_hashes_begin_alike_are_told_apart(make):
    roster = make()
    names = [f"pump/{n}" for n in range(CAPACITY)]
    roster.add(names)
    words = roster.table._buckets.view(np.int64).reshape(-1, 2, WAYS)
    halves = words[:, 1].copy()
    for name in names:
        roster.table.slots([name])
        words[:, 1] = (halves & 0xFFFFFFFF) | (roster.table._hashes[0] & (-1 << 32))
        assert roster.table.slots([again(name)])[0].tolist() == [roster.index[name]]
        assert roster.table.slots([f"{name}0"]) is None
        words[:, 1] = halves


def test_two_tables_spread_keys_differently(make):
    """Hashes are seeded: keys that meet in one bucket here need not meet there."""
    first, second = make().table, make().table
    seeds = {(ctypes.c_int64 * 3).from_address(table._at)[2] for table in (first, second)}
    assert len(seeds) == 2
