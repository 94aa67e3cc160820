"""What every source of messages shares: the model, its pool, the core loop, checkpoints, health."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgelstm.errors import InputError, StateError
from edgelstm.pipeline.anomaly import AnomalyRule
from edgelstm.pipeline.clock import boot
from edgelstm.pipeline.config import Config
from edgelstm.pipeline.core import Pipeline, Rules
from edgelstm.pipeline.counts import Counts
from edgelstm.pipeline.fields import Fields, MalformedError
from edgelstm.pipeline.formats import Format, make_format, read_number
from edgelstm.pipeline.join import BEYOND, JoinRule
from edgelstm.pipeline.log import Log
from edgelstm.pipeline.order import OrderRule
from edgelstm.pipeline.reading import Key, Prediction, Reading
from edgelstm.runtime.load import load, parse_constants
from edgelstm.runtime.model import Model
from edgelstm.runtime.store import StateStore

_LOUD = 20  # complaints of one kind that are logged one by one; then every thousandth


class Service:
    """A model that is served. Used by one thread.

    Args:
        config: checked.
        log: where events go.
        setup: tables that the source keeps in the store.

    Raises:
        EdgeLSTMError: the model cannot be loaded or streamed, names do not fit, the states are another model's.
    """

    def __init__(self, config: Config, log: Log, setup: str = "") -> None:
        self.config, self.log, self.counts = config, log, Counts()
        self.model = self._load()
        self.store = StateStore(config.state_path, setup) if config.state_path else None
        horizon = config.model_horizon
        self.pool = self.model.pool(
            config.model_capacity, on_invalid="error", on_full="evict", threads=config.model_threads
        )
        features = tuple(config.model_features) or _names(self.model, "features", self.pool.inputs)
        outputs = tuple(config.model_outputs) or _names(self.model, "outputs", self.pool.outputs)
        self.fields = Fields(
            features,
            config.input_key,
            config.input_sequence,
            config.input_time or ("timestamp" if config.input_format == "influx" and config.gaps_by == "time" else ""),
            config.input_unit,
            parts=config.input_join or config.input_every > 0,
            passes=not config.input_every and not config.mqtt_feature,
        )
        shown = [*outputs, *(("anomaly_score", "anomaly") if config.anomaly_feature else ())]
        width = sum(_widths(self.pool.outputs).values())
        if len(outputs) != width:
            raise InputError(
                f"model.outputs: expected {width} names for the outputs {', '.join(self.pool.outputs)}; got "
                f"{len(outputs)}: {', '.join(outputs)}"
            )
        _check_names("features", features)
        if horizon and config.input_format == "json":
            shown.append("warm")
        _check_names("outputs", shown)
        self.format: Format = make_format(config.input_format, self.fields, shown, config.input_columns)
        self.pipeline = Pipeline(self.pool, self._rules(features, outputs, horizon), self.counts, self.complain)
        self._complaints: dict[str, int] = {}
        self.step_seconds = 0.0
        self.waiting: Callable[[], int] = lambda: 0
        self.saved = time.monotonic()  # when what stands on the disk was written, or read at the start
        self._save_at = self.saved + config.state_every
        self.position: Any = None
        if config.operation_health:
            Path(config.operation_health).touch()
        if self.store is not None:
            self.position = self.pipeline.load(self.store, config.state_swap)

    def went_on(self, now: float) -> None:
        """All that is older than this process was taken. After another start of the machine, no time is known since."""
        if isinstance(self.position, dict) and self.position.get("boot", boot()) != boot():
            self.pipeline.forget_arrivals(now)

    def _rules(self, features: tuple[str, ...], outputs: tuple[str, ...], horizon: int) -> Rules:
        config = self.config
        anomaly = None
        if config.anomaly_feature:
            foretells = config.anomaly_output or outputs[0]
            if config.anomaly_feature not in features or foretells not in outputs:
                raise InputError(
                    f"anomaly: expected a feature of {', '.join(features)} and an output of {', '.join(outputs)}, got "
                    f"{config.anomaly_feature!r} and {foretells!r}"
                )
            anomaly = AnomalyRule(
                features.index(config.anomaly_feature),
                outputs.index(foretells),
                config.anomaly_threshold,
                config.anomaly_warmup,
            )
        by_arrival = not (config.input_time or config.input_format == "influx")
        return Rules(
            JoinRule(
                features,
                config.input_join,
                tuple(config.input_trigger),
                config.input_max_age,
                config.input_on_invalid,
                config.input_every,
                config.input_sample,
                by_arrival,
            ),
            outputs,
            OrderRule(
                config.gaps_by,
                config.gaps_interval,
                config.gaps_on_gap,
                config.gaps_longest or horizon or 1000,
                config.gaps_restart,
            ),
            anomaly,
            horizon,
        )

    def read(self, message: bytes, where: str, arrival: float, key: Key | None = None) -> Reading | None:
        """A message as a reading; None, counted and told, where it cannot be read."""
        return self._read(message, where, lambda: self.format.read(message, arrival, key))

    def read_feature(self, feature: str, message: bytes, where: str, arrival: float, key: Key | None) -> Reading | None:
        """A message that is the number of one feature."""
        return self._read(message, where, lambda: read_number(self.fields, feature, message, arrival, key))

    def _read(self, message: bytes, where: str, read: Callable[[], Reading | None]) -> Reading | None:
        self.counts.add("received")
        if len(message) > self.config.input_longest:
            self.counts.add("oversized")
            self.complain(f"{where}: more than {self.config.input_longest} bytes; see input.longest")
            return None
        try:
            reading = read()
        except MalformedError as error:
            self.counts.add("malformed")
            self.complain(f"{where}: {error}")
            return None
        if reading is not None:
            self._look(reading.values, where)
        return reading

    def _look(self, values: Mapping[str, float], where: str) -> None:
        """Tell what the join is going to count: features that are missing or no numbers."""
        if not sum(map(abs, values.values())) < BEYOND:
            for name in (name for name, value in values.items() if not abs(value) < BEYOND):
                self.complain(f"{where}: the feature {name!r} is no number of float32")
        if not values:
            self.complain(f"{where}: none of the features {', '.join(self.fields.features)}")
        elif len(values) < len(self.fields.features) and not self.fields.parts:
            missing = next(name for name in self.fields.features if name not in values)
            self.complain(f"{where}: the feature {missing!r} is missing")

    def process(self, readings: Iterable[Reading]) -> list[Prediction]:
        """See `Pipeline.process`."""
        start = time.perf_counter()
        found = self.pipeline.process(readings)
        self.step_seconds += time.perf_counter() - start
        return found

    def complain(self, text: str) -> None:
        """Log what was skipped; a flood of complaints is thinned out."""
        kind = text.rsplit(":", 1)[-1][:40]
        if len(self._complaints) > 1000:
            self._complaints.clear()
        count = self._complaints[kind] = self._complaints.get(kind, 0) + 1
        if count <= _LOUD or count % 1000 == 0:
            self.log.warn("skipped", what=text, alike=count)

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self.store is not None and time.monotonic() >= self._save_at

    def postpone(self, seconds: float) -> None:
        """The next checkpoint is due in so long."""
        self._save_at = time.monotonic() + seconds

    def checkpoint(
        self, position: Mapping[str, Any] | None = None, also: Callable[[Any], object] | None = None
    ) -> bool:
        """Write what changed; a failure is logged and counted, and tried again in time."""
        if self.store is None:
            return False
        start = time.monotonic()
        self.postpone(self.config.state_every)
        try:
            count = self.pipeline.checkpoint(self.store, {"boot": boot(), **(position or {})}, also)
        except StateError as error:
            self.counts.add("checkpoint_errors")
            self.log.error("checkpoint failed", why=str(error))
            return False
        self.saved = time.monotonic()
        self.log.debug("checkpoint", streams=count, seconds=round(self.saved - start, 3))
        return True

    def _load(self) -> Model:
        return load(self.config.model_path, constants=parse_constants(self.config.model_constants))

    def swap(self) -> None:
        """Load the model's file anew and go on with the states, if they have the same names and shapes.

        Raises:
            EdgeLSTMError: the file is no model, or of another shape; the old one goes on.
        """
        model = self._load()
        if model.hash == self.model.hash:
            return
        pool = model.pool(
            self.config.model_capacity, on_invalid="error", on_full="evict", threads=self.config.model_threads
        )
        if (pool.inputs, pool.outputs) != (self.pool.inputs, self.pool.outputs):
            raise InputError(
                f"expected a model with inputs {_show(self.pool.inputs)} and outputs {_show(self.pool.outputs)} as "
                f"before, got {_show(pool.inputs)} and {_show(pool.outputs)}"
            )
        pool.take_over(self.pool)
        pool.on_evict = self.pool.on_evict
        self.model, self.pool, self.pipeline.pool = model, pool, pool
        self.log.info("model swapped", model=model.hash[:16])

    def healthy(self) -> None:
        """Touch the file that a watchdog looks at; where that fails later on, the watchdog sees it."""
        if self.config.operation_health:
            with suppress(OSError):
                Path(self.config.operation_health).touch()

    def close(self) -> None:
        """Close the store."""
        if self.store is not None:
            self.store.close()
        self.log.info("stopped", **{name: self.counts[name] for name in sorted(self.counts)})


def _check_names(what: str, names: Sequence[str]) -> None:
    if twins := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{what}: {twins[0]!r} stands twice in {', '.join(names)}; name them by model.{what}")
    if odd := [name for name in names if not name or {"\n", "\r"} & set(name)]:
        raise InputError(f"{what}: expected names of one line each, got {odd[0]!r}; name them by model.{what}")


def _show(kinds: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in kinds.items())


def _widths(kinds: Mapping[str, Any]) -> dict[str, int]:
    """Numbers of each port a step."""
    return {name: math.prod(int(str(dim)) for dim in kind.shape) for name, kind in kinds.items()}


def _names(model: Model, what: str, kinds: Any) -> tuple[str, ...]:
    """Names from the model's metadata, a list as JSON; else those of the ports, with numbers."""
    widths = _widths(kinds)
    try:
        told = json.loads(model.metadata.get(what, "null"))
    except ValueError:
        told = [model.metadata[what]]
    if isinstance(told, list) and len(told) == sum(widths.values()):
        return tuple(map(str, told))
    return tuple(name if width == 1 else f"{name}{index}" for name, width in widths.items() for index in range(width))
