"""Runs mutated programs on the machine with every arena against an unmapped page; prints what became of each.

A read or write outside an arena kills the process, so this runs as `python -m tests.program.guarded FIRST LAST`;
with a third argument nothing is verified, to see the guard at work.
Weights are mapped read-only. Every program runs twice: arenas ending at the guard, then starting at it.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgelstm.errors import ProgramError
from edgelstm.graph.bind import bind, free_symbols
from edgelstm.graph.ir import Graph
from edgelstm.graph.stored import MATRICES, channel_axes
from edgelstm.machine.executor import Machine
from edgelstm.machine.jit import warmup
from edgelstm.passes.stream import to_step
from edgelstm.program import executor
from edgelstm.program.lowering import lower
from edgelstm.program.opcodes import ROW
from edgelstm.program.program import Program
from edgelstm.program.status import INDEX, OK
from edgelstm.program.verify import verify
from tests.gates import gated
from tests.strategies import random_case

PAGE = mmap.PAGESIZE
ROOM = 64 * PAGE
SECONDS = 20
PER_PROGRAM = 40

libc = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Memory between two pages that may not be touched."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, ROOM + 2 * PAGE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map)) + PAGE
        for edge in (self.start - PAGE, self.start + ROOM):
            self.protect(edge, PAGE, 0)

    def protect(self, address: int, size: int, rights: int) -> None:
        if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), rights):
            raise OSError(ctypes.get_errno(), "mprotect")

    def take(self, words: int, at_end: bool) -> np.ndarray:
        """Zeros at one end of the room."""
        if words * 4 > ROOM:
            raise MemoryError(words)
        self.protect(self.start, ROOM, mmap.PROT_READ | mmap.PROT_WRITE)
        first = PAGE + (ROOM - 4 * words if at_end else 0)
        array = np.frombuffer(self.map, np.float32, words, first)
        array[:] = 0
        return array

    def freeze(self) -> None:
        self.protect(self.start, ROOM, mmap.PROT_READ)


WEIGHTS, STATE, SCRATCH = Guarded(), Guarded(), Guarded()


def programs(first: int) -> Iterator[Program]:
    """Programs of random graphs, from the seed `first` on."""
    seed = first
    while True:
        case = random_case(seed, streamable=seed % 2 == 0)
        if seed % 2:
            sizes = {"T": seed % 5 + 1, "B": seed % 3 + 1}
            graph = bind(case.graph, {name: sizes[name] for name in free_symbols(case.graph)})
        else:
            graph = to_step(case.graph).graph
        if seed % 4 > 1:
            graph = gated(graph, np.random.default_rng(seed))
        if seed % 3:
            graph = in_eight_bits(graph, np.random.default_rng(seed))
        yield lower(graph)
        seed += 1


def in_eight_bits(graph: Graph, rng: np.random.Generator, share: float = 0.7) -> Graph:
    """The graph with the weights of some products stored as int8, and some of those computed so."""
    constants, scales, nodes = dict(graph.constants), dict(graph.scales), []
    for node in graph.nodes:
        roles = []
        for role, index in {**MATRICES, "gather": {"table": 0}}.get(node.op, {}).items():
            name = node.inputs[index]
            array = graph.constants.get(name)
            if array is not None and array.dtype == np.float32 and rng.random() < share:
                axes = 1 if node.op == "gather" else channel_axes(node.op)
                constants[name] = rng.integers(-127, 128, array.shape).astype(np.int8)
                shape = [*array.shape[:axes], *[1] * (array.ndim - axes)]
                scales[name] = rng.uniform(0.001, 0.01, shape).astype(np.float32)
                roles.append(role)
        chosen = tuple(role for role in roles if rng.random() < share)
        computed = chosen and "int8" in node.attrs
        nodes.append(replace(node, attrs={**node.attrs, "int8": chosen}) if computed else node)
    return replace(graph, constants=constants, scales=scales, nodes=tuple(nodes))


def mutated(program: Program, rng: np.random.Generator) -> Program:
    """The program with one thing changed."""
    kind = rng.integers(0, 12)
    if kind == 0 and len(program.inputs + program.outputs + program.states):
        return _other_port(program, rng)
    if kind == 1:
        return replace(program, scratch_words=max(0, program.scratch_words + int(rng.integers(-64, 16))))
    if kind == 2:
        return replace(program, weights=program.weights[: int(rng.integers(0, program.weights.size + 1))])
    if kind == 3:
        return replace(program, initial_state=program.initial_state[: int(rng.integers(0, program.state_words + 1))])
    if not len(program.code):
        return program
    code = program.code.copy()
    row, column = int(rng.integers(len(code))), int(rng.integers(0, ROW))
    if kind == 4:
        code[row, column] = code[int(rng.integers(len(code))), column]
    elif kind == 5:
        code[row, column] = code[row, int(rng.integers(1, ROW))]
    else:
        used = np.flatnonzero(code[row])
        column = int(rng.choice(used)) if rng.random() < 0.7 else column
        code[row, column] = _other_number(int(code[row, column]), rng)
    return replace(program, code=code)


def _other_number(value: int, rng: np.random.Generator) -> int:
    far = int(rng.integers(-(1 << 62), 1 << 62))
    near = value + int(rng.choice([-64, -16, -5, -4, -3, -1, 1, 2, 3, 4, 16, 64]))
    return int(
        rng.choice([near, near, near, near, 0, 1, -1, -value, 2 * value % (1 << 62), (1 << 31) - 1, 1 << 20, far])
    )


def _other_port(program: Program, rng: np.random.Generator) -> Program:
    role = str(rng.choice([role for role in ("inputs", "outputs", "states") if getattr(program, role)]))
    ports = list(getattr(program, role))
    index = int(rng.integers(len(ports)))
    port = ports[index]
    if rng.random() < 0.5:
        ports[index] = replace(port, operand=_other_number(port.operand, rng))
    else:
        ports[index] = replace(port, shape=(*port.shape, int(rng.integers(0, 2000))))
    return replace(program, **{role: tuple(ports)})


def run(program: Program, at_end: bool, rng: np.random.Generator) -> None:
    """Two executions on arbitrary memory."""
    arenas = iter((STATE, SCRATCH))  # the order in which Arenas takes them
    executor.aligned = lambda words: next(arenas).take(words, at_end)
    weights = WEIGHTS.take(program.weights.size, at_end)
    weights[:] = program.weights
    WEIGHTS.freeze()
    machine = Machine(replace(program, weights=weights))
    for _ in range(2):
        scratch = machine.arenas.scratch.view(np.int32)
        scratch[:] = rng.integers(-3, 6, scratch.size)
        some = rng.random(scratch.size) < 0.3
        scratch[some] = rng.integers(-(1 << 31), 1 << 31, int(some.sum()))
        assert machine.execute(False) in (OK, INDEX)


def main(first: int, last: int, verified: bool = True) -> None:
    rng = np.random.default_rng([first, 7])
    warmup()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a program that does not end kills the process, too
    index = first
    for program in programs(first):
        for number in range(PER_PROGRAM):
            other = mutated(program, rng) if number else program
            try:
                if verified:
                    verify(other)
            except ProgramError:
                print(index, "rejected", flush=True)
            else:
                print(index, "runs", flush=True)
                signal.alarm(SECONDS)
                for at_end in (True, False):
                    run(other, at_end, rng)
                signal.alarm(0)
                print(index, "ran", flush=True)
            index += 1
            if index == last:
                return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), len(sys.argv) < 4)
