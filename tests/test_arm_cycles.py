"""The page of modelled cycles: what is read out of a disassembly and a trace, and that every layer has its row."""

import pytest

from edgelstm.errors import EdgeLSTMError
from tools import arm_cycles, mca, trace

LISTING = """
driver:	file format elf64-littleaarch64

0000000000001000 <main>:
    1000:      	bl	0x1010 <model_step>
    1004:      	b.ne	0x1000 <main>
    1008:      	ret

0000000000001010 <model_step>:
    1010:      	adrp	x8, 0x41000 <weights+0x20>
    1014:      	fmla	v0.4s, v1.4s, v2.s[0]   // a remark
    1018:      	ret
"""
STEP = [0x1010, 0x1014, 0x1014, 0x1018]


def test_branches_and_addresses_can_be_assembled_again():
    code, functions = trace.parse(LISTING)
    assert [code[at] for at in STEP] == ["adrp x8, #0", *["fmla v0.4s, v1.4s, v2.s[0]"] * 2, "ret"]
    assert code[0x1004] == "b.ne #4"
    assert functions == {"main": range(0x1000, 0x1010), "model_step": range(0x1010, 0x101C)}


def test_the_third_step_is_cut_out():
    code, functions = trace.parse(LISTING)
    executed = [0x1000, 0x1010, 0x1018, 0x1004, 0x1000, 0x1010, 0x1018, 0x1004, 0x1000, *STEP, 0x1004, 0x1008]
    assert trace._cut(executed, code, functions) == [code[at] for at in STEP]
    with pytest.raises(EdgeLSTMError, match="2 steps of 3"):
        trace._cut(executed[:9], code, functions)


def test_the_page_has_every_layer_and_says_what_is_modelled():
    text = arm_cycles.PAGE.read_text(encoding="utf-8")
    for cell in arm_cycles.GATES:
        for hidden in arm_cycles.HIDDEN:
            for kind in ("float", "int8"):
                assert f"| {cell} {arm_cycles.INPUTS}→{hidden} {kind} |" in text
    for core in mca.CORES:
        assert f"{core}: instructions (emulated) | cycles (modelled)" in text


@pytest.mark.slow
def test_a_chain_of_sums_takes_its_latency():
    try:
        mca.program("llvm-mca")
    except EdgeLSTMError as error:
        pytest.skip(str(error))
    chain = ["fmla v0.4s, v1.4s, v2.4s"] * 100
    apart = [f"fmla v{n % 8}.4s, v30.4s, v31.4s" for n in range(100)]
    for core in mca.CORES:
        assert mca.cycles(apart, core) < mca.cycles(chain, core)
    with pytest.raises(ValueError, match="llvm-mca for A72"):
        mca.cycles(["no such instruction"], "A72")
