"""The configuration of `edgelstm serve`: one TOML file, or the same as flags."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgelstm.errors import InputError
from edgelstm.pipeline import join, order, topics
from edgelstm.pipeline.fields import UNITS
from edgelstm.pipeline.formats import FORMATS

SECTIONS = ("model", "input", "output", "gaps", "anomaly", "state", "mqtt", "operation")
LAST_PORT = 65_535
_NEEDS = (  # settings that mean nothing without another
    ("input_trigger", "input_join"),
    ("input_sample", "input_every"),
    ("input_unit", "input_time"),
    ("anomaly_output", "anomaly_feature"),
    ("anomaly_threshold", "anomaly_feature"),
    ("anomaly_warmup", "anomaly_feature"),
    ("state_swap", "state_path"),
    ("mqtt_password_file", "mqtt_username"),
    ("mqtt_ca", "mqtt_tls"),
    ("mqtt_certificate", "mqtt_tls"),
    ("mqtt_private_key", "mqtt_certificate"),
    ("operation_metrics_host", "operation_metrics"),
)


@dataclass
class Config:
    """Every setting; the name is section.name in the file, and --section-name as a flag.

    A list may be given as text with commas, a time as a number of seconds or as text such as "60s", "5m", "1h".
    """

    model_path: str = field(default="", metadata={"help": "the model", "required": True})
    model_constants: list[str] = field(default_factory=list, metadata={"help": "inputs that never change: name=value"})
    model_features: list[str] = field(default_factory=list, metadata={"help": "names of the features, in order"})
    model_outputs: list[str] = field(default_factory=list, metadata={"help": "names of the outputs, in order"})
    model_capacity: int = field(default=10_000, metadata={"help": "streams that there is room for", "least": 1})
    model_threads: int = field(default=1, metadata={"help": "threads that share the streams", "least": 1})
    model_horizon: int = field(default=0, metadata={"help": "readings until a stream counts as warm", "least": 0})
    input_from: str = field(default="stdin", metadata={"help": "where readings come from", "of": ("stdin", "mqtt")})
    input_format: str = field(default="json", metadata={"help": "how they are written", "of": FORMATS})
    input_file: str = field(default="", metadata={"help": "a file instead of standard input, resumed after a crash"})
    input_columns: list[str] = field(default_factory=list, metadata={"help": "columns of a CSV without a header"})
    input_key: str = field(default="", metadata={"help": "the field that tells whose reading it is"})
    input_sequence: str = field(default="", metadata={"help": "the field that counts readings"})
    input_time: str = field(default="", metadata={"help": "the field that is the sender's time"})
    input_unit: str = field(default="s", metadata={"help": "the unit of times that are numbers", "of": tuple(UNITS)})
    input_join: bool = field(default=False, metadata={"help": "put readings together from several messages"})
    input_trigger: list[str] = field(default_factory=list, metadata={"help": "features that complete a reading"})
    input_max_age: dict[str, Any] = field(default_factory=dict, metadata={"help": "feature=time it may stand in for"})
    input_every: float = field(default=0.0, metadata={"help": "resample to one reading in this time", "time": True})
    input_sample: str = field(default="mean", metadata={"help": "how to resample", "of": join.SAMPLES})
    input_on_invalid: str = field(default="hold", metadata={"help": "what NaN and such do", "of": join.ON_INVALID})
    input_longest: int = field(default=65_536, metadata={"help": "bytes of the longest message", "least": 16})
    gaps_by: str = field(default="none", metadata={"help": "what orders readings", "of": order.BY})
    gaps_interval: float = field(default=0.0, metadata={"help": "time from reading to reading", "time": True})
    gaps_on_gap: str = field(default="skip", metadata={"help": "what missing readings do", "of": order.POLICIES})
    gaps_longest: int = field(default=0, metadata={"help": "missing readings that reset; 0: the horizon", "least": 0})
    gaps_restart: int = field(default=1000, metadata={"help": "a sequence this far back begins anew", "least": 1})
    anomaly_feature: str = field(default="", metadata={"help": "the feature that is foretold; turns scores on"})
    anomaly_output: str = field(default="", metadata={"help": "the output that foretells it (default: the first)"})
    anomaly_threshold: float = field(default=6.0, metadata={"help": "scores above are flagged"})
    anomaly_warmup: int = field(default=50, metadata={"help": "readings before scores count", "least": 1})
    state_path: str = field(default="", metadata={"help": "the file of states; none: nothing survives"})
    state_every: float = field(default=60.0, metadata={"help": "time between checkpoints", "time": True})
    state_swap: bool = field(default=False, metadata={"help": "take the states of a model that was trained anew"})
    mqtt_host: str = field(default="localhost", metadata={"help": "the broker"})
    mqtt_port: int = field(default=1883, metadata={"help": "its port", "least": 1, "most": LAST_PORT})
    mqtt_topics: list[str] = field(default_factory=list, metadata={"help": "topics, with + and #"})
    mqtt_key: str = field(
        default="{topic}", metadata={"help": "the key from {topic} or its levels {1}, {2}, {-1}; '': from the payload"}
    )
    mqtt_feature: str = field(default="", metadata={"help": "the feature a plain payload is, from {1}, {-1}..."})
    mqtt_publish: str = field(default="", metadata={"help": "where predictions go; {key} stands for the key"})
    mqtt_qos: int = field(default=1, metadata={"help": "of subscriptions and predictions", "of": (0, 1)})
    mqtt_version: int = field(default=5, metadata={"help": "the protocol: 5, or 3 for 3.1.1", "of": (3, 5)})
    mqtt_client: str = field(default="edgelstm", metadata={"help": "the client's name, of its own at the broker"})
    mqtt_username: str = field(default="", metadata={"help": "user"})
    mqtt_password_file: str = field(default="", metadata={"help": "file that holds the password"})
    mqtt_tls: bool = field(default=False, metadata={"help": "use TLS"})
    mqtt_ca: str = field(default="", metadata={"help": "certificates to trust, instead of the system's"})
    mqtt_certificate: str = field(default="", metadata={"help": "this client's certificate"})
    mqtt_private_key: str = field(default="", metadata={"help": "its key"})
    mqtt_status: str = field(default="", metadata={"help": "topic that says online or offline (a last will)"})
    mqtt_queue: int = field(default=100_000, metadata={"help": "messages that may wait", "least": 1})
    mqtt_on_full: str = field(
        default="block", metadata={"help": "what a full queue does", "of": ("block", "drop-oldest", "drop-newest")}
    )
    mqtt_discovery: str = field(default="", metadata={"help": "prefix of Home Assistant's discovery; turns it on"})
    operation_metrics: int = field(
        default=0, metadata={"help": "port of Prometheus metrics; 0: none", "least": 0, "most": LAST_PORT}
    )
    operation_metrics_host: str = field(default="127.0.0.1", metadata={"help": "address of the metrics"})
    operation_log: str = field(default="text", metadata={"help": "how to log", "of": ("text", "json")})
    operation_health: str = field(default="", metadata={"help": "file that is touched at every checkpoint or second"})


_DEFAULTS = Config()
_SILENT = {  # settings that a format leaves no place for
    "json": ("columns",),
    "csv": (),
    "influx": ("key", "time", "columns"),
    "plain": ("key", "time", "sequence", "columns"),
}
_WHY = {
    "json": "input.format is json, which names its fields itself",
    "influx": "of Influx lines, measurement and tags are the key, and the timestamp is the time",
    "plain": "input.format is plain: messages are the features' numbers alone",
}


def setting_name(name: str) -> tuple[str, str]:
    """model_path → ("model", "path")."""
    section, _, rest = name.partition("_")
    return section, rest.replace("_", "-")


def read_config(path: Path) -> dict[str, Any]:
    """Settings of a file by attribute name, not yet checked.

    Raises:
        InputError: it is not TOML, a name stands twice or is unknown.
        OSError: it cannot be read.
    """
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    known = {setting_name(f.name): f.name for f in fields(Config)}
    found = {}
    for section, settings in content.items():
        if section not in SECTIONS:
            raise InputError(f"{path}: no section [{section}]; there are {', '.join(SECTIONS)}")
        if not isinstance(settings, Mapping):
            raise InputError(f"{path}: expected settings under [{section}], got {settings!r}")
        for name, value in settings.items():
            attribute = known.get((section, name.replace("_", "-")))
            if attribute is None:
                names = ", ".join(rest for part, rest in known if part == section)
                raise InputError(f"{path}: [{section}] has no setting {name!r}; it has {names}")
            if attribute in found:
                raise InputError(f"{path}: [{section}] has {name!r} twice, with - and with _")
            found[attribute] = value
    return found


def make_config(settings: Mapping[str, Any]) -> Config:
    """Check and convert settings, from a file or from flags.

    Raises:
        InputError: one is of the wrong kind or out of range, or they do not fit together.
    """
    config = Config()
    for spec in fields(Config):
        if spec.name in settings:
            setattr(
                config, spec.name, _convert(spec.name, settings[spec.name], getattr(config, spec.name), spec.metadata)
            )
    _check(config)
    if config.mqtt_topics and "input_from" not in settings:
        raise InputError("mqtt.topics: input.from must be 'mqtt' to listen to them, or 'stdin' to leave them alone")
    return config


def _convert(name: str, value: Any, default: Any, rules: Mapping[str, Any]) -> Any:
    where = ".".join(setting_name(name))
    if rules.get("time"):
        return seconds(value, where)
    if isinstance(default, list) and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(default, dict) and isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not mark for _, mark, _ in pairs):
            raise InputError(f"{where}: expected name=value, with commas between, got {value!r}")
        value = {name.strip(): part for name, _, part in pairs}
    if isinstance(default, bool) and value in ("true", "false"):
        value = value == "true"
    try:
        if isinstance(value, str) and isinstance(default, (int, float)) and not isinstance(default, bool):
            value = type(default)(value)
    except ValueError:
        raise InputError(f"{where}: expected a number, got {value!r}") from None
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise InputError(f"{where}: expected {type(default).__name__}, got {value!r}")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise InputError(f"{where}: expected a list of names, got {value!r}")
    if "of" in rules and value not in rules["of"]:
        raise InputError(f"{where}: expected one of {', '.join(map(str, rules['of']))}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: expected a finite number, got {value!r}")
    if "most" in rules and value > rules["most"]:
        raise InputError(f"{where}: expected at most {rules['most']}, got {value!r}")
    if "least" in rules and value < rules["least"]:
        raise InputError(f"{where}: expected at least {rules['least']}, got {value!r}")
    if isinstance(value, dict):
        value = {feature: seconds(age, f"{where}.{feature}") for feature, age in value.items()}
    return value


def seconds(value: Any, where: str) -> float:
    """A time as seconds: a number, or text with a unit.

    Raises:
        InputError: it is neither, or negative.
    """
    units = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    text = str(value).strip()
    unit = next((u for u in ("ms", "s", "m", "h", "d") if text.endswith(u)), "")
    try:
        result = float(text.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError:
        result = -1.0
    if isinstance(value, bool) or not 0 <= result < 1e12:
        raise InputError(f"{where}: expected a time such as 60, 60s, 5m or 1h, got {value!r}")
    return result


def _check(config: Config) -> None:
    if not config.model_path:
        raise InputError("model.path: expected the file of the model")
    for name, needed in (("sequence", config.input_sequence), ("time", config.input_time)):
        if config.gaps_by == name and not needed and not (name == "time" and config.input_format == "influx"):
            raise InputError(f"gaps.by is {name!r}: input.{name} must name the field")
    if config.gaps_by in ("time", "arrival") and not config.gaps_interval:
        raise InputError(f"gaps.by is {config.gaps_by!r}: gaps.interval must tell the time from reading to reading")
    for name in ("model_features", "model_outputs", "input_columns"):
        given = getattr(config, name)
        if twins := [one for one in given if given.count(one) > 1]:
            raise InputError(f"{'.'.join(setting_name(name))}: {twins[0]!r} stands twice")
    for name, needed in _NEEDS:
        if getattr(config, name) != getattr(_DEFAULTS, name) and not getattr(config, needed):
            raise InputError(
                f"{'.'.join(setting_name(name))}: {'.'.join(setting_name(needed))} must be set for it to mean anything"
            )
    for name in _SILENT[config.input_format]:
        if getattr(config, f"input_{name}"):
            raise InputError(f"input.{name}: {_WHY[config.input_format]}; leave it out")
    if config.gaps_on_gap != "skip" and config.gaps_by == "none" and not config.input_every:
        raise InputError(f"gaps.on-gap is {config.gaps_on_gap!r}: gaps.by must say what tells a gap")
    if config.input_from == "mqtt":
        _check_mqtt(config)
    unknown = [name for name in (*config.input_trigger, *config.input_max_age) if name not in config.model_features]
    if unknown and config.model_features:
        raise InputError(f"{unknown[0]!r} is no feature; there are {', '.join(config.model_features)}")


def _check_mqtt(config: Config) -> None:
    if not config.mqtt_topics:
        raise InputError("mqtt.topics: expected the topics to listen to")
    for at, topic in enumerate(config.mqtt_topics):
        if not topics.is_filter(topic):
            raise InputError(f"mqtt.topics: + and # stand for whole levels, # for the last ones; got {topic!r}")
        if twins := [other for other in config.mqtt_topics[:at] if topics.overlap(topic, other)]:
            raise InputError(
                f"mqtt.topics: a broker may give a message twice that {twins[0]!r} and {topic!r} both match; let each "
                "topic match one of them"
            )
    for name in ("key", "feature"):
        pattern = getattr(config, f"mqtt_{name}")
        if not topics.is_pattern(pattern):
            raise InputError(f"mqtt.{name}: expected {{topic}} or levels such as {{1}}, {{-1}}, got {pattern!r}")
    if config.input_file:
        raise InputError("input.file: expected input.from stdin beside it, got mqtt")
    if config.mqtt_qos == 1 and not config.state_path:
        raise InputError(
            "mqtt.qos is 1: state.path must name a file, where messages are kept before they are confirmed"
        )
    if config.input_format == "csv" and not config.input_columns:
        raise InputError("input.format is csv: over MQTT there is no header, so input.columns must name the columns")
    topic = config.mqtt_publish.replace("{key}", "")
    if any(mark in topic for mark in "{}+#"):
        raise InputError(
            f"mqtt.publish: expected a topic in which {{key}} alone is filled in, got {config.mqtt_publish!r}"
        )
    for name in ("publish", "status"):
        topic = getattr(config, f"mqtt_{name}").replace("{key}", "\0")  # which a wildcard alone matches
        if topic and any(topics.overlap(topic, other) for other in config.mqtt_topics):
            raise InputError(f"mqtt.{name}: mqtt.topics match it, so what goes out would come back as readings")
    if not config.mqtt_key and not config.input_key and config.input_format != "influx":
        raise InputError("mqtt.key: expected the levels of a topic that make the key, or input.key to name a field")
    if config.mqtt_discovery and (config.input_format != "json" or not config.mqtt_publish):
        raise InputError("mqtt.discovery: Home Assistant reads JSON: expected input.format json and mqtt.publish")
    if config.mqtt_feature and not config.input_join and not config.input_every:
        raise InputError("mqtt.feature: a message holds one feature, so input.join or input.every must be set")
    if config.mqtt_feature and config.input_key:
        raise InputError("mqtt.feature: a message holds no key, so mqtt.key must tell it; leave out input.key")
