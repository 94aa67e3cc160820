"""Prometheus metrics of a service, served by prometheus-client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from edgelstm.errors import DependencyError, InputError
from edgelstm.pipeline.counts import NAMES
from edgelstm.pipeline.service import Service


class Exporter:
    """Collects when it is asked; costs nothing between."""

    def __init__(self, service: Service) -> None:
        self._service, self._started = service, time.monotonic()

    def collect(self) -> Iterator[Any]:
        """Every counter, and what is current."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        service = self._service
        for name, what in NAMES.items():
            metric = CounterMetricFamily(f"edgelstm_{name}", what)
            metric.add_metric([], service.counts[name])
            yield metric
        seconds = CounterMetricFamily("edgelstm_step_seconds", "time that the model took")
        seconds.add_metric([], service.step_seconds)
        yield seconds
        yield GaugeMetricFamily("edgelstm_streams", "streams in the pool", value=len(service.pool))
        yield GaugeMetricFamily("edgelstm_capacity", "streams that there is room for", value=service.pool.capacity)
        age = time.monotonic() - service.saved
        yield GaugeMetricFamily("edgelstm_checkpoint_age_seconds", "time since the last checkpoint", value=age)
        yield GaugeMetricFamily("edgelstm_queue", "messages that wait", value=service.waiting())
        yield InfoMetricFamily("edgelstm_model", "the model that runs", value={"hash": service.model.hash})


def start(service: Service, host: str, port: int) -> Any:
    """Serve the metrics from a thread; gives the server.

    Raises:
        DependencyError: prometheus-client is missing.
        InputError: the port is taken, or not of this machine.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise DependencyError("metrics need prometheus-client: install edgelstm[metrics]") from None
    registry = CollectorRegistry()
    registry.register(Exporter(service))
    try:
        return start_http_server(port, host, registry)[0]
    except OSError as error:
        raise InputError(f"operation.metrics: port {port} of {host} cannot be listened to: {error}") from None
