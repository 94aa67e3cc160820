"""Lines from standard input or a file, predictions to standard output."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from edgelstm.errors import InputError
from edgelstm.pipeline.core import BATCH
from edgelstm.pipeline.formats import Csv
from edgelstm.pipeline.progress import Progress
from edgelstm.pipeline.reading import Prediction, Reading
from edgelstm.pipeline.service import Service

_PIECE = 1 << 16
_BEGIN = 4096  # bytes that tell one file from another
_PIPE = 1 << 20  # bytes that a pipe may hold when a signal comes; they are read before the end


class Lines:
    """Whole lines of a file descriptor, as many at a time as are there."""

    def __init__(self, source: BinaryIO, longest: int, offset: int = 0) -> None:
        self._source, self._longest = source, longest
        self._rest, self.ended = b"", False
        self.cut = False  # what came last is no whole line, for all that can be told
        self._lost = self._owed = 0  # bytes cut off the line that is not whole yet; off the first that was given last
        self.offset, self.number = offset, 0  # bytes and lines that were given

    def wait(self, seconds: float) -> list[bytes] | None:
        """Lines that came, perhaps none; None at the end."""
        if self.ended:
            return None
        descriptor = self._source.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            return []
        piece = os.read(descriptor, _PIECE)
        if not piece:
            self.ended, self._owed = True, self._lost
            rest, self._rest = self._rest, b""
            return [rest] if rest else None
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        self.cut = bool(self._rest)
        if lines:
            self._owed, self._lost = self._lost, 0
        if len(self._rest) > 2 * self._longest:  # a line that never ends must not fill the memory
            self._lost += len(self._rest) - self._longest - 1
            self._rest = self._rest[: self._longest + 1]
        return lines

    def took(self, line: bytes) -> None:
        """A line was taken; lines are taken in order."""
        self.offset += len(line) + 1 + self._owed
        self.number += 1
        self._owed = 0


def serve(service: Service, source: BinaryIO, target: BinaryIO, stop: Stop) -> None:
    """Until the input ends or a signal stops it; then everything that came is written and saved."""
    service.went_on(time.monotonic())
    resumable = bool(service.config.input_file)
    start = _start(service, source) if resumable else 0
    header = _skip(service, source, start) if resumable else None
    lines = Lines(source, service.config.input_longest, start)
    progress = Progress(source)
    healthy, rest = 0.0, 0 if resumable else _PIPE
    while not stop.asked or rest > 0:
        if stop.swap:
            stop.swap = False
            stop.swapped(service)
        came = lines.wait(0.0 if stop.asked else 0.5)
        if came is None or (stop.asked and (not came or (lines.ended and lines.cut))):
            break
        rest -= _PIECE * stop.asked
        now = time.monotonic()
        for readings in _batches(service, lines, came, now):
            header = _write(service, target, service.process(readings), header)
        header = _write(service, target, service.pipeline.tick(now), header)
        if service.due():
            service.checkpoint(_position(service, source, lines.offset) if resumable else None)
        progress.show(service.counts["received"])
        if now - healthy >= 1:
            healthy = now
            service.healthy()
    progress.close()
    if stop.asked and lines.cut:
        service.complain(f"line {lines.number + 1}: not whole when the signal came")
    service.checkpoint(_position(service, source, lines.offset) if resumable else None)


class Stop:
    """What signals ask for."""

    def __init__(self) -> None:
        self.asked = self.swap = False

    def swapped(self, service: Service) -> None:
        """Swap the model; a failure is logged."""
        from edgelstm.errors import EdgeLSTMError

        try:
            service.swap()
        except (EdgeLSTMError, OSError) as error:
            service.log.error("the model was not swapped", why=str(error))


def _position(service: Service, source: BinaryIO, offset: int) -> dict[str, Any]:
    """A place in a file, and what tells whether it is that file: its name, and how it begins."""
    begins = crc32(os.pread(source.fileno(), max(0, min(offset - 1, _BEGIN)), 0))  # the last line may lack its end
    return {"file": str(Path(service.config.input_file).resolve()), "begins": begins, "offset": offset}


def _start(service: Service, source: BinaryIO) -> int:
    """The place in the file that the states belong to; 0 in another file than theirs.

    Raises:
        InputError: it cannot be read again, is shorter now, or its last line has grown.
    """
    name, known = service.config.input_file, service.position
    status = os.fstat(source.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"input.file: expected a file that can be read again, got {name}; redirect others to stdin")
    if not isinstance(known, dict) or "offset" not in known:
        return 0
    start = int(known["offset"])
    here = _position(service, source, start)
    if any(here[name] != known.get(name, here[name]) for name in here):
        service.log.info("another file, read from its start", file=name)
        return 0
    if start and status.st_size != start - 1 and os.pread(source.fileno(), 1, start - 1) != b"\n":
        raise InputError(
            f"input.file: {name} was read up to byte {start}, where no line ends any more: it is shorter now, or its "
            "last line has grown; give what is new a name of its own"
        )
    return start


def _skip(service: Service, source: BinaryIO, start: int) -> bytes | None:
    """Go to where the states are; a CSV's header is read first."""
    if start and isinstance(service.format, Csv) and not service.config.input_columns:
        for line in source:
            if line.strip():
                service.format.read(line.rstrip(b"\r\n"), 0.0)
                break
    os.lseek(source.fileno(), start, os.SEEK_SET)
    return service.format.header if start and isinstance(service.format, Csv) else None


def _batches(service: Service, lines: Lines, came: list[bytes], now: float) -> Iterator[list[Reading]]:
    readings = []
    for line in came:
        lines.took(line)
        if not line.strip():
            continue
        reading = service.read(line.rstrip(b"\r"), f"line {lines.number}", now)
        if reading is not None:
            readings.append(reading)
        if len(readings) >= BATCH:
            yield readings
            readings = []
    yield readings


def _write(service: Service, target: BinaryIO, found: list[Prediction], header: bytes | None) -> bytes | None:
    """Predictions as lines; a CSV's header stands before the first one."""
    if not found:
        return header
    text = [service.format.write(prediction) for prediction in found]
    if isinstance(service.format, Csv) and service.format.header != header and service.format.header:
        header = service.format.header
        text.insert(0, header)
    target.write(b"\n".join(text) + b"\n")
    target.flush()
    service.counts.add("published", len(found))
    return header
