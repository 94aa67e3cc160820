"""Readings a second from end to end: through lines, and through mosquitto at QoS 0 and 1, with CPU time and memory.

    python -m benchmarks.serve

One `edgelstm serve` with a small LSTM (3 inputs, 5 units) and 1000 keys; feeder, broker and listener share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import edgelstm
from edgelstm.pipeline.packets import publish, topic_of

KEYS = 1000
FEATURES = "a,b,c"
LINES = {
    "json": '{{"id":"k{key}","seq":{seq},"a":{a},"b":0.5,"c":-0.25}}',
    "csv": "k{key},{seq},{a},0.5,-0.25",
    "influx": "m,id=k{key} seq={seq}i,a={a},b=0.5,c=-0.25",
}


def model(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
    path = folder / "model.edgelstm"
    edgelstm.from_arrays({name: rng.normal(0, 0.4, shape) for name, shape in shapes.items()}).save(path)
    return path


def line(form: str, number: int) -> str:
    return LINES[form].format(key=number % KEYS, seq=number // KEYS, a=number % 7)


def command(path: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "edgelstm", "serve", "--model-path", str(path), "--model-features", FEATURES]
    return [*start, *more]


def lines(path: Path, form: str, count: int) -> dict[str, object]:
    """Through standard input; the start of the process is taken off by a run without readings."""
    more = ["--input-format", form, "--input-columns", "id,seq,a,b,c"] if form == "csv" else ["--input-format", form]
    more += ["--input-key", "id"] if form != "influx" else []
    text = ("\n".join(line(form, number) for number in range(count)) + "\n").encode()
    seconds, processor, memory = [], [], 0
    for content in (b"", text):
        start = time.perf_counter()
        process = subprocess.Popen(
            command(path, *more), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert process.stdin is not None
        process.stdin.write(content)
        process.stdin.close()
        _, process.returncode, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - start)
        processor.append(usage.ru_utime + usage.ru_stime)
        memory = usage.ru_maxrss
    return _row(f"stdin, {form}", count, seconds[1] - seconds[0], processor[1] - processor[0], memory)


def mqtt(path: Path, folder: Path, qos: int, count: int, seconds: float = 120) -> dict[str, object]:
    """Through mosquitto; from the first message that is published to the last prediction that comes back.

    The feeder stays 20000 messages ahead of the predictions; it and the listener (mosquitto_sub) take little time, as
    they share the machine with what is measured.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    config = folder / f"mosquitto{qos}.conf"
    limits = "max_inflight_messages 0\nmax_queued_messages 0\n"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{limits}")
    broker = subprocess.Popen(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL)
    time.sleep(1)
    more = ["--input-from", "mqtt", "--mqtt-port", str(port), "--mqtt-topics", "in/#", "--mqtt-key", "{-1}"]
    more += ["--mqtt-publish", "out/{key}", "--mqtt-qos", str(qos), "--state-path", str(folder / f"state{qos}.db")]
    log = (folder / f"log{qos}").open("w+")
    process = subprocess.Popen(command(path, *more), stderr=log)
    while "connected" not in (folder / f"log{qos}").read_text():
        if process.poll() is not None:
            raise SystemExit((folder / f"log{qos}").read_text())
        time.sleep(0.1)
    listener = Listener(port)
    feeder = socket.create_connection(("127.0.0.1", port))
    feeder.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04feed")  # CONNECT, MQTT 3.1.1
    threading.Thread(target=_discard, args=(feeder,), daemon=True).start()
    part = 500
    parts = [_packets(number, min(part, count - number), qos) for number in range(0, count, part)]
    time.sleep(1)
    before, start = _processor(process.pid), time.perf_counter()
    for number, packets in enumerate(parts):
        while number * part - listener.count > 20_000 and time.perf_counter() - start < seconds:
            time.sleep(0.001)
        feeder.sendall(packets)
    while listener.count < count and time.perf_counter() - start < seconds:
        time.sleep(0.001)
    took, spent, memory = time.perf_counter() - start, _processor(process.pid) - before, _memory(process.pid)
    for each in (process, listener.process, broker):
        each.terminate()
        each.wait()
    return _row(f"mosquitto, QoS {qos}", listener.count, took, spent, memory)


class Listener:
    """Counts predictions."""

    def __init__(self, port: int) -> None:
        listen = ["mosquitto_sub", "-p", str(port), "-t", "out/#"]
        self.process, self.count = subprocess.Popen(listen, stdout=subprocess.PIPE), 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        assert self.process.stdout is not None
        while piece := os.read(self.process.stdout.fileno(), 1 << 16):
            self.count += piece.count(b"\n")


def _packets(first: int, count: int, qos: int) -> bytes:
    numbers = range(first, first + count)
    topics = {number: topic_of(f"in/k{number % KEYS}") for number in numbers}
    return b"".join(
        publish(topics[number], line("json", number).encode(), (number % 65_535 + 1) * qos, False, False)
        for number in numbers
    )


def _discard(source: socket.socket) -> None:
    while source.recv(1 << 16):
        pass


def _row(way: str, count: int, took: float, spent: float, memory: int) -> dict[str, object]:
    return {
        "way": way,
        "readings": count,
        "readings/s": f"{count / took:,.0f}",
        "readings/s of CPU time": f"{count / max(spent, 1e-9):,.0f}",
        "memory MB": memory // 1024 or "–",
    }


def _processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = model(folder)
        lines(path, "json", 1)  # compiles, where nothing is cached yet
        for form in LINES:
            print(json.dumps(lines(path, form, options.count)), flush=True)
        for qos in (0, 1):
            print(json.dumps(mqtt(path, folder, qos, options.count // 2)), flush=True)


if __name__ == "__main__":
    main()
