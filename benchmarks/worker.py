"""One question in a process of its own: `python -m benchmarks.worker REQUEST.json ANSWER.json`; `suite` starts it.

The process keeps to as many processors as the question says before any engine is loaded, so that engines which count
processors see no more.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import pin


@dataclass(frozen=True, slots=True)
class Request:
    """What a worker measures."""

    question: str
    engines: tuple[str, ...]
    cases: str = ""  # a regular expression that "group label" must hold
    rounds: int = 21
    quick: bool = False

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def main() -> int:
    source, target = map(Path, sys.argv[1:])
    content = json.loads(source.read_text(encoding="utf-8"))
    request = Request(**{**content, "engines": tuple(content["engines"])})
    logging.disable(logging.WARNING)  # of quantization tools, about models that are not these
    from benchmarks.questions import QUICK, Effort, question

    found = question(request.question)
    pin(found.THREADS)
    effort = QUICK if request.quick else Effort(request.rounds)
    rows = []
    for case in found.cases(quick=request.quick):
        if re.search(request.cases, str(case)):
            rows += found.measure(case, request.engines, effort)
    target.write_text(json.dumps([row.plain() for row in rows]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
