"""Every setting is checked and refused by name."""

import pytest

from edgelstm.errors import InputError
from edgelstm.pipeline.config import make_config, read_config, seconds

MQTT = {"model_path": "m", "input_from": "mqtt", "mqtt_topics": ["a/#"], "state_path": "s"}

SOME = "[model]\npath = 'a'\n[state]\npath = 's'\n[input]\nfrom = 'mqtt'\n[mqtt]\ntopics = ['a']\n"


def read(tmp_path, text):
    path = tmp_path / "serve.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return make_config(read_config(path))


def test_a_short_file(tmp_path):
    config = read(
        tmp_path,
        """
        [model]
        path = "m.edgelstm"
        features = ["a", "b"]
        [input]
        max-age = {a = "5m", b = 10}
        every = "60s"
        [mqtt]
        qos = 0
        """,
    )
    assert (config.model_path, config.model_features, config.input_every) == ("m.edgelstm", ["a", "b"], 60.0)
    assert config.input_max_age == {"a": 300.0, "b": 10.0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[model]\npath = 1", "model.path: expected str, got 1"),
        ("[model]\npath = 'a'\npath = 'b'", "Cannot overwrite"),
        ("[model]\npath = 'a'\n[model]\n", "Cannot declare"),
        ("[model]\nfile = 'a'", "no setting 'file'"),
        ("[modell]\n", "no section"),
        ("path = 'a'", "no section"),
        (b"[model]\npath = '\xff'", "utf-8"),
        ("[model]\npath = 'a'\ncapacity = 0", "model.capacity: expected at least 1"),
        ("[model]\npath = 'a'\n[input]\nformat = 'xml'", "expected one of csv, json"),
        ("[model]\npath = 'a'\n[input]\nevery = 'soon'", "input.every: expected a time"),
        ("[model]\npath = 'a'\n[input]\nevery = -1", "input.every: expected a time"),
        ("[model]\npath = 'a'\n[gaps]\nby = 'sequence'", "input.sequence must name"),
        ("[model]\npath = 'a'\n[gaps]\nby = 'arrival'", "gaps.interval"),
        ("[model]\npath = 'a'\n[input]\nfrom = 'mqtt'", "mqtt.topics"),
        ("[model]\npath = 'a'\nfeatures = ['x']\n[input]\njoin = true\ntrigger = ['y']", "'y' is no feature"),
        ("[input]\njoin = true", "model.path"),
        (f"{SOME}publish = '{{topic}}/out'", "mqtt.publish: expected a topic"),
        (f"{SOME}publish = 'out/#'", "mqtt.publish: expected a topic"),
        (f"{SOME}discovery = 'homeassistant'", "input.format json and mqtt.publish"),
        (f"{SOME}feature = '{{-1}}'", "input.join or input.every"),
        (f"{SOME}key = '{{levle}}'", "mqtt.key: expected {topic} or levels"),
        (f"{SOME}key = '{{0}}'", "mqtt.key: expected {topic} or levels"),
        (f"{SOME}port = 65536", "mqtt.port: expected at most 65535"),
        ("[model]\npath = 'a'\n[operation]\nmetrics = 70000", "operation.metrics: expected at most"),
        ("[model]\npath = 'a'\nfeatures = ['x', 'y', 'x']", "model.features: 'x' stands twice"),
        ("[model]\npath = 'a'\noutputs = ['x', 'x']", "model.outputs: 'x' stands twice"),
        ("[model]\npath = 'a'\n[input]\ncolumns = ['x', 'x']", "input.columns: 'x' stands twice"),
        ("[model]\npath = 'a'\n[input]\ntrigger = ['x']", "input.trigger: input.join must be set"),
        ("[model]\npath = 'a'\n[input]\nmax-age = '10s'", "input.max-age: expected name=value"),
        ("[model]\npath = 'a'\n[gaps]\non-gap = 'hold'", "gaps.by must say what tells a gap"),
        ("[model]\npath = 'a'\n[anomaly]\nthreshold = nan", "anomaly.threshold: expected a finite"),
        (SOME.replace("from", "file = 'f'\nfrom"), "input.file: expected input.from stdin"),
        (SOME.replace("from = 'mqtt'", ""), "mqtt.topics: input.from must be 'mqtt'"),
        (f"{SOME}ca = 'ca.pem'", "mqtt.ca: mqtt.tls must be set"),
        (f"{SOME}password-file = 'p'", "mqtt.password-file: mqtt.username must be set"),
        (f"{SOME}key = ''", "mqtt.key: expected the levels"),
        (f"{SOME}publish = 'a'", "mqtt.publish: mqtt.topics match it"),
        (SOME.replace("['a']", "['a/+']\npublish = 'a/{key}'"), "mqtt.publish: mqtt.topics match it"),
        (SOME.replace("['a']", "['a/#']\nstatus = 'a'"), "mqtt.status: mqtt.topics match it"),
        (SOME.replace("['a']", "['a/#', 'b', '+/c']"), "that 'a/#' and '\\+/c' both match"),
        ("[[model]]\npath = 'a'", r"expected settings under \[model\]"),
        ("[model]\npath = 'a'\n[input]\nmax-age = {a = 1}\nmax_age = {a = 2}", "'max_age' twice"),
        ("[model]\npath = 'a'\n[anomaly]\nthreshold = 3", "anomaly.threshold: anomaly.feature must be set"),
        ("[model]\npath = 'a'\n[input]\nformat = 'influx'\nkey = 'host'", "input.key: of Influx lines"),
        ("[model]\npath = 'a'\n[input]\nformat = 'plain'\nsequence = 'n'", "input.sequence: input.format is plain"),
        ("[model]\npath = 'a'\n[input]\ncolumns = ['a']", "input.columns: input.format is json"),
    ],
)
def test_mistakes_are_named(tmp_path, text, why):
    with pytest.raises(InputError, match=why):
        read(tmp_path, text)


@pytest.mark.parametrize("topic", ["#", "+", "a", "a/#", "+/b", "a/+/c/#", "/a", "a/", "$share/group/a/#"])
def test_topics_may_hold_whole_wildcards(topic):
    assert make_config({**MQTT, "mqtt_topics": [topic]}).mqtt_topics == [topic]


@pytest.mark.parametrize("topic", ["a#", "a/#/b", "a+", "+a/b", "##", "a\0b", "a/b#", "#/a", ""])
def test_topics_that_no_broker_takes(topic):
    with pytest.raises(InputError, match=r"mqtt\.topics: "):
        make_config({**MQTT, "mqtt_topics": [topic]})


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf[model]\npath = 'a'").model_path == "a"


def test_flags_are_text():
    config = make_config({**MQTT, "mqtt_port": "99", "input_join": True, "model_features": "a, b", "mqtt_tls": "true"})
    assert (config.mqtt_port, config.model_features, config.mqtt_tls) == (99, ["a", "b"], True)
    with pytest.raises(InputError, match=r"mqtt\.port: expected a number"):
        make_config({**MQTT, "mqtt_port": "x"})
    with pytest.raises(InputError, match=r"state\.path must name a file"):
        make_config({**MQTT, "state_path": ""})


def test_times():
    assert [seconds(t, "") for t in ("5ms", 3, "2m", "1h", "1d", 0.5)] == [0.005, 3, 120, 3600, 86400, 0.5]
    with pytest.raises(InputError):
        seconds(True, "x")
