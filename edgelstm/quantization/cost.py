"""How long a product takes, in float and on int8, by target: a committed table, so that decisions are reproducible.

A product of n vectors of 16 outputs over k inputs is modelled as fixed + n · k · each (float), or
fixed + n · ceil(k / 4) · each (int8, k activations quantized before), but at least as long as reading its weights
takes: bytes / rate, with the rate of the nearest memory that holds them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec

from edgelstm.errors import InputError
from edgelstm.quantization.scheme import Matrix

NATIVE = "native"
LANES = 16


@dataclass(frozen=True, slots=True)
class Costs:
    """One target's row of the table; times in nanoseconds.

    Attributes:
        name: of the target.
        source: "measured" or "modelled", and on what.
        float_fixed, float_each: of a float product.
        int8_fixed, int8_each: of an int8 product.
        quantize_each: for 16 activations.
        memory: (bytes up to, nanoseconds for a kilobyte), nearest first; the last holds any size.
    """

    name: str
    source: str
    float_fixed: float
    float_each: float
    int8_fixed: float
    int8_each: float
    quantize_each: float
    memory: tuple[tuple[float, float], ...]

    def in_float(self, matrix: Matrix) -> float:
        """Nanoseconds of the product in float32, once."""
        outer, outputs, inner = matrix.shape
        vectors = outer * -(-outputs // LANES)
        return max(self.float_fixed + vectors * inner * self.float_each, self._reading(vectors * LANES * inner * 4))

    def in_int8(self, matrix: Matrix) -> float:
        """Nanoseconds of the product on int8, activations quantized first."""
        outer, outputs, inner = matrix.shape
        vectors, quads = outer * -(-outputs // LANES), -(-inner // 4)
        ready = self.int8_fixed * matrix.taps + -(-inner // LANES) * self.quantize_each
        return ready + max(vectors * quads * self.int8_each, self._reading(vectors * LANES * quads * 4))

    def _reading(self, size: float) -> float:
        rate = next((rate for limit, rate in self.memory if size <= limit), self.memory[-1][1])
        return size / 1024 * rate


@cache
def table() -> dict[str, Costs]:
    """Every target by name."""
    text = resources.files("edgelstm.quantization").joinpath("costs.json").read_text("utf-8")
    rows = json.loads(text)["targets"]
    return {
        name: Costs(name, **{**row, "memory": tuple(tuple(level) for level in row["memory"])})
        for name, row in rows.items()
    }


def costs_of(target: str) -> Costs:
    """The row of a target; "native" is the one whose instructions this machine has.

    Raises:
        InputError: there is no such target.
    """
    known = table()
    name = native() if target == NATIVE else target
    if name not in known:
        raise InputError(f"target: expected native or one of {', '.join(known)}, got {target!r}")
    return known[name]


def native() -> str:
    """The target of the table that is nearest to this machine."""
    if find_spec("numba") is None:
        return "portable"
    from edgelstm.machine.dot import chosen

    return {
        "vnni512": "x86-vnni",
        "vnni256": "x86-vnni",
        "avx2": "x86-avx2",
        "ssse3": "x86-avx2",
        "sdot": "pi5",
        "neon": "pi4",
        "portable": "portable",
    }[chosen()]
