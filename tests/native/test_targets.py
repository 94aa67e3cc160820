"""Targets by name, by triple, and what is said of those that do not exist."""

import pytest

from edgelstm.errors import EdgeLSTMError, InputError
from edgelstm.machine.targets import ALIASES, TARGETS, custom, find
from edgelstm.native.link import compile_c, static_flags
from tests.support import require_module


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


def test_an_x86_level_brings_what_it_has():
    told = custom("x86_64-unknown-linux-gnu", "x86-64-v3", "+avxvnni,+sse4a")
    assert set(told.abilities) >= {*find("x86-64-v3").abilities, "avxvnni"}
    assert told.uses == "ssse3, sse4.1, avx, avx2, fma, avxvnni"


def test_soft_float_is_refused():
    with pytest.raises(InputError, match="expected the hard-float ABI, as in armv7-unknown-linux-gnueabihf"):
        custom("armv7l-unknown-linux-gnueabi", "", "")


@pytest.mark.parametrize(
    ("cpu", "features", "message"),
    [
        ("cortex-a1000", "", "unknown CPU: 'cortex_a1000'"),
        ("cortex-a55", "+dot-prod", "unknown CPU feature: 'dot_prod'"),
    ],
)
def test_a_processor_or_feature_that_does_not_exist_is_refused_before_the_machine_is_compiled(
    cpu, features, message, tmp_path
):
    require_module("ziglang")
    (tmp_path / "empty.c").touch()
    with pytest.raises(EdgeLSTMError, match=message):
        compile_c(tmp_path / "empty.c", custom("aarch64-unknown-linux-gnu", cpu, features), tmp_path / "empty.o")


def test_a_program_for_the_zero_is_for_armv6():
    assert static_flags(find("pi-zero")) == "-target arm-linux-musleabihf -mcpu=arm1176jzf_s -static"


@pytest.mark.parametrize(
    "triple",
    ["mips-unknown-linux-gnu", "aarch64-apple-darwin", "aarch64_be-unknown-linux-gnu", "x86_64h-unknown-linux-gnu", ""],
)
def test_other_families_are_refused(triple):
    with pytest.raises(InputError, match=r"--triple: expected one of"):
        custom(triple, "", "")
