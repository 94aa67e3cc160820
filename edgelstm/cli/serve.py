"""Serves a model: readings in from lines or MQTT, predictions out, states kept on disk.

Settings come from a TOML file (--config) and from flags, which win. Each setting section.name is a flag
--section-name; docs/serve.md tells them all. SIGTERM and SIGINT finish what has come in and save; SIGHUP loads the
model's file anew.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from edgelstm.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm serve`."""
    from dataclasses import fields

    from edgelstm.pipeline.config import Config, setting_name

    parser.add_argument("--config", metavar="FILE", type=Path, help="a TOML file with these settings")
    for spec in fields(Config):
        section, name = setting_name(spec.name)
        more: dict[str, Any] = {"nargs": "?", "const": True} if spec.type == "bool" else {}
        among = f" ({', '.join(map(str, spec.metadata['of']))})" if "of" in spec.metadata else ""
        parser.add_argument(
            f"--{section}-{name}",
            dest=spec.name,
            metavar="VALUE",
            default=None,
            **more,
            help=spec.metadata["help"] + among,
        )


def main(options: argparse.Namespace) -> int:
    """See the module."""
    from edgelstm.pipeline.config import make_config, read_config
    from edgelstm.pipeline.log import Log
    from edgelstm.pipeline.stdio import Stop

    settings: dict[str, Any] = read_config(options.config) if options.config else {}
    settings |= {
        name: value for name, value in vars(options).items() if value is not None and name not in ("config", "command")
    }
    config = make_config(settings)
    stop = Stop()

    def ask(number: int, _frame: object) -> None:
        stop.asked = stop.asked or number != signal.SIGHUP
        stop.swap = stop.swap or number == signal.SIGHUP

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), ask)
    _run(config, Log(config.operation_log), stop)
    return 0


def _run(config: Any, log: Any, stop: Any) -> None:
    from edgelstm.pipeline.lock import alone

    with alone(config.state_path):
        _serve(config, log, stop)


def _serve(config: Any, log: Any, stop: Any) -> None:
    from edgelstm.pipeline import metrics, mqtt, stdio
    from edgelstm.pipeline.service import Service

    service = Service(config, log, mqtt.SETUP)
    log.info("serving", model=service.model.hash[:16], streams=len(service.pool), batched=service.pool.batched)
    server = None
    if config.operation_metrics:
        server = metrics.start(service, config.operation_metrics_host, config.operation_metrics)
    try:
        if config.input_from == "mqtt":
            mqtt.serve(service, stop)
        elif config.input_file:
            with Path(config.input_file).open("rb", buffering=0) as source:
                stdio.serve(service, source, _open(sys.stdout, "output"), stop)
        else:
            stdio.serve(service, _open(sys.stdin, "input"), _open(sys.stdout, "output"), stop)
    finally:
        service.close()
        if server is not None:
            server.shutdown()


def _open(stream: Any, what: str) -> Any:
    if stream is None:
        raise InputError(f"standard {what} is closed: redirect it to a file, a pipe or /dev/null")
    return stream.buffer
