"""What was quantized, what was not and why, and what it costs and saves: for people and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgelstm.quantization.limits import Error, Output

FLOAT, INT8, WEIGHTS = "float32", "int8", "int8 weights"


@dataclass(frozen=True, slots=True)
class Entry:
    """One matrix.

    Attributes:
        name, op: its layer and role.
        shape: directions, outputs, inputs.
        kept: "int8" (activations on 8 bits, too), "int8 weights" or "float32".
        why: why it was left in float, or has float activations; "" else.
        bytes_before, bytes_after: of its weights, scales included.
        float_ns, int8_ns: modelled time of one product on the target; None for a table.
        measured_float_ns, measured_int8_ns: a step of the model with all in float, and with this matrix alone on int8;
            None where not measured.
        alone: the error with this matrix alone on int8; None without calibration data.
    """

    name: str
    op: str
    shape: tuple[int, int, int]
    kept: str
    why: str
    bytes_before: int
    bytes_after: int
    float_ns: float | None
    int8_ns: float | None
    measured_float_ns: float | None
    measured_int8_ns: float | None
    alone: Error | None


@dataclass(frozen=True, slots=True)
class Report:
    """All matrices in the order of the model.

    Attributes:
        entries: one for each.
        target, source: whose costs were taken, and where they come from.
        objective: "speed" or "size".
        tolerance: as asked for; None: the usual one.
        error: of the model as it is now, over all float outputs; None without calibration data.
        outputs: the error of each, and what it was allowed; empty without calibration data.
        bytes_before, bytes_after: of all constants.
    """

    entries: tuple[Entry, ...]
    target: str
    source: str
    objective: str
    tolerance: float | None
    error: Error | None
    outputs: tuple[Output, ...]
    bytes_before: int
    bytes_after: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite as text, as JSON has none."""
        found: dict[str, Any] = _plain(asdict(self))
        return found

    def __str__(self) -> str:
        """A table."""
        head = ("matrix", "size", "kept as", "bytes", "modelled ns", "error alone", "why")
        rows = [head, *(_row(entry) for entry in self.entries)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
            for row in rows
        ]
        ratio = self.bytes_before / max(1, self.bytes_after)
        lines.append(f"weights: {self.bytes_before} -> {self.bytes_after} bytes, {ratio:.2f} times smaller")
        lines.append(f"objective {self.objective}, target {self.target} ({self.source})")
        if self.error is not None:
            lines += [f"error in the end: {_error(one)}" for one in self.outputs]
        else:
            lines.append("error: not known without calibration data")
        return "\n".join(lines)


def _row(entry: Entry) -> tuple[str, ...]:
    outer, outputs, inner = entry.shape
    size = f"{outputs} x {inner}" if outer == 1 else f"{outer} x {outputs} x {inner}"
    times = "-" if entry.float_ns is None else f"{entry.float_ns:.0f} -> {entry.int8_ns:.0f}"
    if entry.measured_float_ns is not None:
        times += f" (step {entry.measured_float_ns:.0f} -> {entry.measured_int8_ns:.0f} measured)"
    alone = "-" if entry.alone is None else f"{entry.alone.max:.2g}"
    return (entry.name, size, entry.kept, f"{entry.bytes_before} -> {entry.bytes_after}", times, alone, entry.why)


def _error(one: Output) -> str:
    parts = (("max", one.error.max, one.allowed.max), ("rms", one.error.rms, one.allowed.rms))
    shown = (
        f"{name} {value:.3g}" + (f" of {limit:.3g} allowed" if limit < math.inf else "") for name, value, limit in parts
    )
    return f"{one.name}: {', '.join(shown)}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
