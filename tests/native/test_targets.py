"""Targets by name, by triple, and what is said of those that do not exist."""

import pytest

from edgelstm.errors import InputError
from edgelstm.machine.targets import ALIASES, TARGETS, custom, find


def test_every_alias_names_a_target():
    assert {find(alias).name for alias in ALIASES} <= set(TARGETS)


@pytest.mark.parametrize("name", ["pi-zero", "pi2", "armv7", "pi3", "pi-zero2", "pi4", "pi5", "x86-64", "riscv64"])
def test_the_documented_names_exist(name):
    assert find(name).triple.endswith(("gnu", "gnueabihf"))


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"no target is called 'pi6': the nearest names are .*pi5"):
        find("pi6")


def test_only_the_dot_product_of_pi5_is_used():
    assert [name for name, target in TARGETS.items() if "dotprod" in target.abilities] == ["aarch64-dotprod", "pi5"]


def test_fused_is_what_has_fma():
    assert {name for name, target in TARGETS.items() if not target.fused} == {"x86-64-v2", "pi-zero", "armv7"}


def test_a_target_by_triple():
    target = custom("aarch64-unknown-linux-gnu", "cortex-a55", "+dotprod")
    assert (target.cpu, target.architecture, target.bits, target.fused) == ("cortex-a55", "aarch64", 64, True)
    assert "dotprod" in target.abilities


def test_armv7_neon_does_not_make_kernels_fuse():
    assert custom("armv7-unknown-linux-gnueabihf", "cortex-a9", "+neon").abilities == ()


@pytest.mark.parametrize("triple", ["mips-unknown-linux-gnu", "aarch64-apple-darwin", ""])
def test_other_families_are_refused(triple):
    with pytest.raises(InputError, match=r"--triple: expected one of"):
        custom(triple, "", "")
