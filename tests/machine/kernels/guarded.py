"""Damages rows at random and runs what verification lets through, between unmapped pages. Run as a program.

Whatever leaves an arena kills the process, so a test only looks at how it ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import random
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgelstm.errors import ProgramError
from edgelstm.graph.ir import Graph
from edgelstm.machine import context as slots
from edgelstm.program.lower import BY_NUMBER
from edgelstm.program.lowering import lower
from edgelstm.program.opcodes import SCRATCH, WEIGHTS
from edgelstm.program.program import Program
from edgelstm.program.verify import verify
from tests.machine.kernels.harness import KERNELS, SENTINEL, Machine, graph
from tests.program.guarded import in_eight_bits

PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Float32 words right before (or right after) a page that may not be touched."""

    def __init__(self, words: np.ndarray, at_end: bool) -> None:
        room = -(-words.nbytes // PAGE) * PAGE
        self.memory = mmap.mmap(-1, room + 2 * PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for page in (address, address + PAGE + room):
            if _LIBC.mprotect(ctypes.c_void_p(page), PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        start = PAGE + (room - words.nbytes if at_end else 0)
        self.words = np.frombuffer(self.memory, np.float32, words.size, start)
        self.words[:] = words


class GuardedMachine(Machine):
    """A machine whose arenas end (or start) where memory does."""

    def __init__(self, program: Program, at_end: bool) -> None:
        self.kept = [Guarded(words, at_end) for words in (program.weights, np.zeros(program.scratch_words, np.float32))]
        super().__init__(program)
        self.scratch = self.kept[1].words
        self.scratch[:] = SENTINEL
        self.context[slots.BASE + WEIGHTS] = self.kept[0].words.ctypes.data
        self.context[slots.BASE + SCRATCH] = self.scratch.ctypes.data


def cell(op: str, f: Callable[..., np.ndarray], clip: float) -> Graph:
    """One layer in both directions, with lengths and start states; clipping takes the general path."""
    gates, names = {"rnn": (1, ("tanh",)), "gru": (3, ("sigmoid", "tanh")), "lstm": (4, ("sigmoid", "tanh", "tanh"))}[
        op
    ]
    w, r, b = f(2, gates * 5, 3), f(2, gates * 5, 5), f(2, 2 * gates * 5)
    inputs = [f(4, 2, 3), w, r, b, np.array([4, 2]), f(2, 2, 5), *([f(2, 2, 5)] if op == "lstm" else [])]
    functions = {"activations": names * 2, "activation_alpha": (0.0,) * 2 * len(names)}
    functions["activation_beta"] = functions["activation_alpha"]
    return graph(op, inputs, {1: w, 2: r, 3: b}, hidden_size=5, direction="bidirectional", clip=clip, **functions)


def programs() -> list[Program]:
    """At least one for every instruction."""
    rng = np.random.default_rng(0)

    def f(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    window = {"strides": (2,), "pads": (1, 1), "dilations": (1,)}
    image = {"strides": (1, 2), "pads": (1, 0, 1, 1), "dilations": (2, 1)}
    graphs = [
        graph("tanh", [f(3, 7)]),
        graph("cast", [f(19)], to="int32"),
        graph("add", [f(3, 1, 5), f(4, 1)]),
        graph("pow", [f(3, 5), f(5)]),
        graph("div", [np.arange(20).reshape(4, 5), np.arange(5)]),
        graph("where", [f(3, 5) > 0, f(5), f(3, 1)]),
        graph("transpose", [f(3, 4, 5)], perm=(2, 0, 1)),
        graph("slice", [f(6, 5)], axes=(0, 1), starts=(5, 1), stops=(-1, 4), steps=(-2, 1)),
        graph("pad", [f(3, 4)], pads=(1, 2, 0, 3), mode="reflect"),
        graph("concat", [f(3, 4), f(3, 2)], axis=1),
        graph("gather", [f(2, 6, 3), np.array([[0, -1], [5, 2]])], axis=1),
        graph("gather", [f(6, 4), np.array([[0, -1], [5, 2]])], {0: f(6, 4)}, axis=0),
        graph("put", [f(2, 6, 3), f(2, 1, 3), np.array([4])], axis=1),
        graph("reverse_sequence", [f(4, 3, 2), np.array([4, 1, 2])], batch_axis=1, time_axis=0),
        graph("reduce_mean", [f(3, 4, 5)], axes=(1,)),
        graph("reduce_max", [np.arange(12).reshape(3, 4)], axes=(1,)),
        graph("argmax", [f(3, 4, 5)], axis=1),
        graph("softmax", [f(3, 4, 5)], axis=1),
        graph("log_softmax", [f(3, 19)], axis=1),
        graph("layer_norm", [f(3, 19), f(19), f(19)]),
        graph("matmul", [f(2, 5, 3), f(2, 3, 20)]),
        graph("conv", [f(2, 3, 9), f(5, 3, 3), f(5)], {1: f(5, 3, 3), 2: f(5)}, group=1, **window),
        graph("conv", [f(1, 4, 5, 6), f(4, 2, 2, 3), None], group=2, **image),
        graph("avg_pool", [f(2, 3, 5, 9)], kernel=(2, 3), **image),
        graph("max_pool", [f(2, 3, 9)], kernel=(3,), **window),
        graph("linear", [f(3, 5), f(7, 5), f(7)], {1: f(7, 5), 2: f(7)}),
        *(cell(op, f, clip) for op in ("rnn", "gru", "lstm") for clip in (0.0, 2.0)),
    ]
    graphs += [stored for made in graphs if (stored := in_eight_bits(made, np.random.default_rng(1), 1.0)).scales]
    return [lower(made) for made in graphs]


def damage(code: np.ndarray, random_: random.Random) -> np.ndarray:
    """One to three fields of one row set to something near, large, or taken from another field."""
    code = code.copy()
    row = code[random_.randrange(len(code))]
    fields = len(BY_NUMBER[int(row[0])].fields)
    for _ in range(random_.randint(1, 3)):
        column = random_.randint(1, fields)
        value = int(row[column])
        wanted = random_.choice(
            (
                value + random_.choice((-8, -4, -1, 1, 4, 8)),
                value * random_.choice((-1, 2, 3)),
                random_.randint(-3, 20),
                random_.choice((-1, 0, 1)),
                int(row[random_.randint(1, fields)]),
                random_.choice((1 << 20, 1 << 31, -(1 << 31), 1 << 40, (1 << 62) + 3, -(1 << 63), (1 << 63) - 1)),
            )
        )
        row[column] = min(max(wanted, -(1 << 63)), (1 << 63) - 1)
    return code


def main(rounds: int) -> None:
    """Print how many damaged programs ran, and how many were refused."""
    random_ = random.Random(7)
    ran = refused = 0
    names: set[str] = set()
    for program in programs():
        inputs = {port.name: np.ones(port.shape, port.dtype) for port in program.inputs}
        machines = [GuardedMachine(program, at_end) for at_end in (False, True)]
        for index in range(rounds):
            damaged = replace(program, code=damage(program.code, random_))
            try:
                verify(damaged)
            except ProgramError:
                refused += 1
                continue
            machine = machines[index % 2]
            machine.program = damaged
            with contextlib.suppress(IndexError):
                machine.run(inputs)
            ran += 1
            names |= {BY_NUMBER[int(row[0])].name for row in damaged.code}
    missing = sorted(set(KERNELS) - names)
    sys.stdout.write(f"{ran} {refused} {missing}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
