"""Runs questions: a process for each, several runs in rotation, so that drift touches all engines alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.questions import Question, question
from benchmarks.results import Row, from_plain, merge
from benchmarks.worker import Request

ROOT = Path(__file__).parents[1]
Tell = Callable[[str], object]


def run(requests: Sequence[Request], runs: int, tell: Tell = lambda _: None) -> list[list[Row]]:
    """The merged rows of each request; every request is run once before any is run again."""
    found: list[list[list[Row]]] = [[] for _ in requests]
    for number in range(runs):
        for place, request in enumerate(requests):
            tell(f"{request.question}, run {number + 1} of {runs}")
            found[place] += _run_once(request, number)
    return [merge(rows) for rows in found]


def _run_once(request: Request, number: int) -> list[list[Row]]:
    asked = question(request.question)
    if not asked.ALTERNATE:
        return [_worker(request, asked)]
    engines = request.engines if number % 2 == 0 else request.engines[::-1]
    return [_worker(replace(request, engines=(engine,)), asked) for engine in engines]


def _worker(request: Request, asked: Question) -> list[Row]:
    threads = str(asked.THREADS)
    variables = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    places = [str(ROOT), str(ROOT / "converters"), os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "request.json", Path(folder) / "answer.json"
        source.write_text(json.dumps(request.plain()), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.worker", source, target],
            env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, places))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{request.question}: the worker ended with {done.returncode}\n{done.stderr}")
        return [from_plain(row) for row in json.loads(target.read_text(encoding="utf-8"))]
