"""The machines that native libraries are made for, by name. Imports neither numba nor llvmlite."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

from edgelstm.errors import InputError


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of machine.

    Attributes:
        name: what `edgelstm build --target` takes.
        triple: LLVM's triple.
        cpu, features: LLVM's processor and what is added to it.
        abilities: what kernels may use, in LLVM's spelling: see `machine/simd/emit.py` and `machine/dot.py`.
        link: the linker's triple, with the oldest C library that the result is meant for.
        machines: what has such a processor.
        uses: what the kernels use there.
        abi: LLVM's name of the calling convention, where the triple does not say it.
    """

    name: str
    triple: str
    cpu: str
    features: str
    abilities: tuple[str, ...]
    link: str
    machines: str
    uses: str
    abi: str = ""

    @property
    def architecture(self) -> str:
        """The instruction set's family, as `platform.machine` calls it."""
        first = self.triple.partition("-")[0]
        return "arm" if first.startswith("armv") else first

    @property
    def bits(self) -> int:
        """Of an address."""
        return 32 if self.architecture == "arm" else 64

    @property
    def fused(self) -> bool:
        """Whether products are fused with sums, so that results are the same bits as on every such machine."""
        return self.architecture == "aarch64" or not {"fma", "vfp4"}.isdisjoint(self.abilities)


_X86 = "x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17"
_ARM64 = "aarch64-unknown-linux-gnu", "aarch64-linux-gnu.2.17"
_V2 = ("ssse3", "sse4.1")
_V3 = (*_V2, "avx", "avx2", "fma")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512vl")
_WIDE = "-prefer-256-bit"


def _x86(name: str, cpu: str, features: str, abilities: tuple[str, ...], machines: str, uses: str) -> Target:
    return Target(name, _X86[0], cpu, features, abilities, _X86[1], machines, uses)


def _arm64(name: str, cpu: str, machines: str, dot: bool = False) -> Target:
    abilities = ("neon", "dotprod") if dot else ("neon",)
    uses = "NEON, FMA, " + ("dot product (sdot)" if dot else "8-bit products by smull and sadalp")
    return Target(name, _ARM64[0], cpu, "+dotprod" if dot else "", abilities, _ARM64[1], machines, uses)


def _arm32(name: str, cpu: str, features: str, abilities: tuple[str, ...], machines: str, uses: str) -> Target:
    version = "armv6" if cpu.startswith("arm1176") else "armv7"
    return Target(
        name, f"{version}-unknown-linux-gnueabihf", cpu, features, abilities, "arm-linux-gnueabihf.2.17", machines, uses
    )


_LIST = (
    _x86("x86-64-v2", "x86-64-v2", "", _V2, "PCs since 2009", "SSE4.2; no FMA: last bits differ"),
    _x86("x86-64-v3", "x86-64-v3", "", _V3, "PCs since 2013 (Haswell, Zen)", "AVX2, FMA"),
    _x86("x86-64-v3-vnni", "x86-64-v3", "+avxvnni", (*_V3, "avxvnni"), "Alder Lake, Zen 5", "AVX2, FMA, AVX-VNNI"),
    _x86("x86-64-v4", "x86-64-v4", _WIDE, _V4, "Skylake servers", "AVX-512, FMA"),
    _x86(
        "x86-64-v4-vnni",
        "x86-64-v4",
        f"+avx512vnni,{_WIDE}",
        (*_V4, "avx512vnni"),
        "Ice Lake, Zen 4 and later",
        "AVX-512, FMA, AVX512-VNNI",
    ),
    _arm64("aarch64", "cortex-a53", "any 64-bit ARM"),
    _arm64("aarch64-dotprod", "cortex-a76", "64-bit ARM with the dot product", dot=True),
    _arm64("pi3", "cortex-a53", "Raspberry Pi 3, 64-bit system"),
    _arm64("pi-zero2", "cortex-a53", "Raspberry Pi Zero 2 W, 64-bit system"),
    _arm64("pi4", "cortex-a72", "Raspberry Pi 4, 400, 64-bit system"),
    _arm64("pi5", "cortex-a76", "Raspberry Pi 5, 500", dot=True),
    _arm32(
        "pi-zero",
        "arm1176jzf-s",
        "+vfp2",
        (),
        "Raspberry Pi Zero, Zero W, 1 (ARMv6, hard float)",
        "VFPv2, no NEON; no FMA: last bits differ",
    ),
    _arm32(
        "armv7",
        "generic",
        "+neon,+vfp3",
        (),
        "32-bit ARMv7 with NEON, hard float",
        "NEON; no FMA: last bits differ",
    ),
    _arm32(
        "pi2",
        "cortex-a7",
        "+neon,+vfp4",
        ("vfp4",),
        "Raspberry Pi 2; 3 and 4 with a 32-bit system",
        "NEON, VFPv4 FMA",
    ),
    Target(
        "riscv64",
        "riscv64-unknown-linux-gnu",
        "generic-rv64",
        "+m,+a,+f,+d,+c",
        ("fma",),
        "riscv64-linux-gnu.2.27",
        "64-bit RISC-V (RV64GC)",
        "scalar FMA; denormals are kept",
        "lp64d",
    ),
)

ALIASES = {"x86-64": "x86-64-v2", "pi-400": "pi4", "pi400": "pi4", "pi500": "pi5", "arm64": "aarch64"}
# What kernels ask for, see `machine/simd/emit.py` and `machine/dot.py`.
_CHOSEN_BY = (*_V3, "avx512f", "avx512bw", "avxvnni", "avx512vnni", "neon", "vfp4", "dotprod")
CUSTOM = "custom"  # told by --triple
NATIVE = "native"  # the machine that builds: `machine.ahead` knows it
TARGETS = {target.name: target for target in _LIST}


def find(name: str) -> Target:
    """A target by name.

    Raises:
        InputError: there is none; names the nearest.
    """
    known = TARGETS.get(ALIASES.get(name, name))
    if known is not None:
        return known
    names = [*TARGETS, *ALIASES, NATIVE]
    near = difflib.get_close_matches(name, names, 3, 0.4)
    hint = f"the nearest names are {', '.join(near)}" if near else f"the names are {', '.join(TARGETS)}, {NATIVE}"
    raise InputError(f"no target is called {name!r}: {hint} (`edgelstm targets` lists all; or give --triple and --cpu)")


def custom(triple: str, cpu: str, features: str) -> Target:
    """A target that is told by triple, processor and features in LLVM's spelling.

    Kernels use what the features name, and what the family always has; of an x86-64 level, what that has.

    Raises:
        InputError: the triple's family is not known, or its calling convention has no floating-point registers.
    """
    family = triple.partition("-")[0]
    family = family[:5] if family.startswith("armv") else family
    families = {"x86_64": "x86-64-v2", "aarch64": "aarch64", "riscv64": "riscv64", "armv6": "pi-zero", "armv7": "armv7"}
    if family not in families or "linux" not in triple:
        raise InputError(f"--triple: expected one of {', '.join(families)} with Linux, got {triple!r}")
    if family.startswith("armv") and not triple.endswith("hf"):
        raise InputError(
            f"--triple: expected the hard-float ABI, as in {family}-unknown-linux-gnueabihf, got {triple!r}"
        )
    base = TARGETS[families[family]]
    if cpu in TARGETS and TARGETS[cpu].triple == base.triple:
        base = TARGETS[cpu]
    enabled = tuple(word[1:] for word in features.split(",") if word.startswith("+"))
    known = {"arm": {"vfp4"}, "riscv64": {"fma"}}.get(base.architecture)
    abilities = [ability for ability in enabled if known is None or ability in known]
    if base.architecture in {"aarch64", "riscv64"} or (cpu or base.cpu) == base.name:
        abilities += base.abilities
    if base.architecture == "arm":
        features = ",".join(filter(None, (base.features, features)))
    return replace(
        base,
        name=CUSTOM,
        triple=triple,
        cpu=cpu or base.cpu,
        features=features or base.features,
        abilities=tuple(dict.fromkeys(abilities)),
        machines=f"{cpu or base.cpu} as told",
        uses=", ".join(ability for ability in _CHOSEN_BY if ability in abilities) or "no special instructions",
    )
