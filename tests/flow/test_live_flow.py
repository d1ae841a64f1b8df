"""The whole flow in a process of its own, which receives OSC."""

import contextlib
import json
import math
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import msgspec
import pytest

from configs.inputs import FileStream
from configs.load import load
from flows.fusion import stations
from flows.stations import Settings, StationLine
from ops.bench.live_kills import kill_often
from ops.bench.osc_flood import flood
from ops.bench.osc_fuzz import bundle, message
from ops.fakes.ports import free_port
from sources import control
from sources.replay.replay import ReplayPartition
from tests.support.json_lines import json_lines
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]
CONFIG = """version: 2
streams:
  - {{name: osc_1, type: osc, addr: "127.0.0.1:{port}", keys: [/v, /acc, /text]}}
signals:
  pulse: {{members: {{"osc_1:/v": {{lag_s: 0.0}}, "osc_1:/acc": {{lag_s: 0.0}}}}}}
channels: {{"osc_1:/acc": {{reduce: norm}}, "osc_1:/text": {{}}}}
failover: {{fallback: sensors_only}}
resample: {{target_hz: 20}}
evidence: {{rules: [{folder}/rules.yaml]}}
"""
RULES = '[{name: low, when: "pulse < 0.5", for_s: 0.1, risk: low}]'
NTP = 2_208_988_800


@pytest.fixture
def live(tmp_path):
    """Return the path of a live configuration, and its port."""
    port = free_port()
    (tmp_path / "rules.yaml").write_text(RULES)
    path = tmp_path / "live.yaml"
    path.write_text(
        CONFIG.format(port=port, folder=tmp_path)
        + f"output: {{dir: {tmp_path}/live}}\ntap: {{dir: {tmp_path}/tap}}\n"
    )
    return path, port


def started(config, *more):
    process = subprocess.Popen(
        [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow({str(config)!r})", *more],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    output = ""
    while "osc_1 is up" not in output:  # other streams may come up first
        line = process.stderr.readline()
        if not line:
            process.kill()
        assert line, output
        output += line
    return process


def send_values(port, seconds):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", port))
    sent, end = 0, time.time() + seconds
    while (now := time.time()) < end:
        stamp = now - 2.5
        sender.send(
            bundle(
                message("/v", "f", struct.pack(">f", now % 1)),
                seconds=int(stamp) + NTP, fraction=int(stamp % 1 * 2**32),
            )
        )  # fmt: skip
        sender.send(message("/acc", "fff", struct.pack(">fff", now % 1, 0.0, 0.0)))
        sender.send(message("/text", "s", b"hello\0\0\0"))
        sender.send(message("/unknown", "f", bytes(4)))
        sender.send(b"no osc..")
        sent += 1
        time.sleep(0.01)
    sender.close()
    return sent


def lines(path):
    return json_lines(path)


def test_a_live_run_accounts_for_all_and_its_tape_gives_the_same_again(live, tmp_path):
    config, port = live
    process = started(config)
    sent = send_values(port, 4.0)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=HUNG_S)
    assert process.returncode == 0, output

    run = json.loads((tmp_path / "live" / "run.json").read_text())
    total = run["account"]["total"]
    assert (run["balanced"], run["ended"]) == (True, True)
    assert total["received"] == 7 * sent
    assert (total["ignored"], total["rejected"], total["dropped"]) == (sent, sent, 0)
    fused = lines(tmp_path / "live" / "fused.jsonl")
    assert sum(x["signals"]["pulse"]["value"] is not None for x in fused) > 40

    assert_the_tape_gives_the_same(config.read_text(), tmp_path)


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_commands_and_beats_are_on_the_tape_and_in_its_replay(live, tmp_path, form):
    config, port = live
    text = config.read_text().replace("/acc,", "/acc, /unknown,")
    text = text.replace("/tap}", f"/tap, format: {form}, rotate_mb: 0.02}}")
    config.write_text(text + 'bridge: {reference: {beat: "osc_1:/unknown"}}\n')
    out = tmp_path / "live"
    process = started(config)
    sent = send_values(port, 1.0)
    control.send(out, "bridge.rollback")
    control.send(out, "bridge.release", "studio")
    control.send(out, "bridge.release", "nowhere")
    control.send(out, "bridge.release")
    sent += send_values(port, 1.0)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=HUNG_S)
    assert process.returncode == 0, output
    assert not (out / "control.sock").exists()

    assert re.findall(r"lumen: (bridge\.\w+) by ", output) == [
        "bridge.rollback",
        "bridge.release",
        "bridge.release",
    ]
    (letter,) = [x for x in lines(out / "dead.jsonl") if x["reason"] == "control"]
    assert (letter["source"], letter["sample"]) == (
        "bridge commands",
        '{"command":"bridge.release","rig":"nowhere"}',
    )
    account = json.loads((out / "run.json").read_text())["account"]["by_source"]
    assert account["bridge commands"] == account["bridge commands"] | {
        "received": 1,
        "rejected": 1,
        "used": 0,
    }
    assert account["osc_1"]["ignored"] == 0
    (tape,) = (tmp_path / "tap").glob("2*")
    controls = [c for p in tape_packets(tape, config) for c in p.controls]
    assert [c.command for c in controls] == ["bridge.rollback", "bridge.release", "bridge.release"]
    beats = [b for p in tape_packets(tape, config) for b in p.beats]
    assert {b.channel for b in beats} == {"osc_1:/unknown"}
    assert sum(map(len, beats)) == sent

    assert_the_tape_gives_the_same(config.read_text(), tmp_path)
    bridge = [(tmp_path / d / "bridge.jsonl").read_bytes() for d in ("live", "replay")]
    assert bridge[0] == bridge[1]
    assert [x["why"] for x in lines(out / "bridge.jsonl") if x["why"]] == ["rollback", "release"]


def tape_packets(tape, config):
    """Return the packets of a tape behind `guard`: the bridge consumes its beats."""
    stream = FileStream(name="tape", path=str(tape))
    replayed = msgspec.structs.replace(load(str(config)).config, streams=[stream], tap=None)
    part, batches = ReplayPartition(replayed), []
    with contextlib.suppress(StopIteration):
        while True:
            batches += [batch for _, batch in part.next_batch()]
    part.close()
    line = StationLine("guard")
    stations(line, line.add, Settings.of(replayed))
    return [packet for batch in batches for packet in line.feed(batch)]


def test_a_tape_that_became_parquet_gives_the_same_again(live, tmp_path):
    config, port = live
    config.write_text(
        config.read_text().replace("/tap}", "/tap, format: parquet, rotate_mb: 0.02}")
    )
    process = started(config)
    send_values(port, 2.0)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=30)
    assert process.returncode == 0, output
    (tape,) = (tmp_path / "tap").glob("2*")
    assert len(list(tape.glob("*.parquet"))) > 3
    assert list(tape.glob("*.ndjson")) == []

    assert_the_tape_gives_the_same(config.read_text(), tmp_path)


def assert_the_tape_gives_the_same(text, folder):
    """Replay the tape of a run; its outputs and its account are those of the run."""
    (tape,) = (folder / "tap").glob("2*")
    recorded = f"streams:\n  - {{name: tape, type: file, path: {tape}, batch_lines: 13}}\nsignals"
    text = re.sub(r"streams:.*?\nsignals", lambda _: recorded, text, flags=re.DOTALL)
    text = text.replace(f"{folder}/live}}", f"{folder}/replay}}").replace("\ntap: ", "\n# ")
    replay = folder / "replay.yaml"
    replay.write_text(text)
    subprocess.run([sys.executable, "-m", "ops", "run", str(replay)], cwd=ROOT, check=True,
                   capture_output=True)  # fmt: skip
    for name in ("fused", "sync", "evidence", "markers", "dead"):
        ours, theirs = ((folder / d / f"{name}.jsonl").read_bytes() for d in ("live", "replay"))
        assert ours == theirs, name
    runs = [json.loads((folder / d / "run.json").read_text()) for d in ("live", "replay")]
    assert runs[0]["account"] == runs[1]["account"]
    assert runs[0]["block_s"] == runs[1]["block_s"] == 0.05


def test_a_recording_plays_beside_a_live_stream_and_lies_on_the_tape_with_it(live, tmp_path):
    config, port = live
    take = tmp_path / "take.ndjson"
    take.write_text("".join(
        json.dumps({"ts": 5e8 + i / 50, "source": "take", "key": "/y", "value": math.sin(i / 20),
                    "meta": {"rx": 1.6e9 + i / 50, "seq": i}}) + "\n"
        for i in range(1000)
    ))  # fmt: skip
    beside = f"  - {{name: recorded, type: file, path: {take}}}\nsignals:\n"
    beside += '  again: {members: {"take:/y": {lag_s: 0.0}}}\n  pulse'
    config.write_text(config.read_text().replace("signals:\n  pulse", beside))
    assert "signals:\n  again" in config.read_text(), config.read_text()
    process = started(config)
    sent = send_values(port, 5.0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    run = json.loads((tmp_path / "live" / "run.json").read_text())
    by_source = run["account"]["by_source"]
    assert run["balanced"]
    assert by_source["osc_1"]["received"] == 7 * sent
    recorded = by_source["take"]
    assert 200 < recorded["received"] < 400
    # On a busy machine some rows are late, or the first beyond a gap outliers. Rows that arrive
    # between the signal and the next look at the inbox are dropped.
    ends = ("used", "late", "outliers", "dropped")
    assert sum(recorded[end] for end in ends) == recorded["received"]
    assert recorded["dropped"] <= 4
    assert recorded["used"] > 200
    sync = [x for x in lines(tmp_path / "live" / "sync.jsonl") if x["channel"] == "take:/y"]
    assert abs(sync[-1]["offset_s"] - (time.time() - 5e8)) < 60
    both = [x["signals"] for x in lines(tmp_path / "live" / "fused.jsonl")]
    assert sum(None not in (x["again"]["value"], x["pulse"]["value"]) for x in both) > 40
    assert_the_tape_gives_the_same(config.read_text(), tmp_path)


def test_a_second_run_is_refused_at_once_and_the_holder_is_named(live, tmp_path):
    config, port = live
    process = started(config)
    try:
        taken = tmp_path / "taken.yaml"
        text = config.read_text().replace(f"{tmp_path}/live}}", f"{tmp_path}/other}}")
        taken.write_text(text.replace(f"tap: {{dir: {tmp_path}/tap}}", ""))
        second = subprocess.run(
            [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow({str(taken)!r})"],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert second.returncode == 2
        output = f"lumen: osc_1: 127.0.0.1:{port} is taken by process {process.pid}"
        assert second.stderr.startswith(output)
        assert second.stderr.count("\n") == 1
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_flood_is_accounted_for_to_the_datagram_with_few_words(tmp_path):
    found = flood(tmp_path, rate=40_000, seconds=2.0, garbage=0.3, tap=True)

    assert found["status"] == 0
    assert found["balanced"]
    assert found["received"] == found["sent"]
    assert found["rejected"] > 0.1 * found["sent"]
    assert found["log_lines"] <= 10


def test_a_killed_live_run_uses_every_taped_event_once(tmp_path):
    found = kill_often(tmp_path, kills=3, rate=500.0)
    assert found["fused"] > 20


OVERLOADED = """version: 2
streams:
  - {{name: osc_1, type: osc, addr: "127.0.0.1:{port}", keys: [/v]}}
signals: {{pulse: {{members: {{{members}}}}}}}
resample: {{target_hz: 1000, profile: low_latency}}
collect: {{block_s: 0.0001}}
output: {{dir: {folder}/out}}
tap: {{dir: {folder}/tap}}
"""
"""A block of 32 channels for each datagram: more packets than a machine works off."""
CHANNELS = 32
MEMBERS = ", ".join(f'"osc_1:/v[{i}]": {{lag_s: 0.0}}' for i in range(CHANNELS))


class Overloaded:
    """A flow that gets more than it can take, and its lines on standard error."""

    def __init__(self, folder):
        self.port = free_port()
        path = folder / "overloaded.yaml"
        path.write_text(OVERLOADED.format(port=self.port, folder=folder, members=MEMBERS))
        self.process = started(path)
        self.lines = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self._reader.start()

    def flood(self):
        """Send a datagram each 0.1 ms, until the flow is late."""
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect(("127.0.0.1", self.port))
        numbers = count()

        def late():
            for _ in range(100):
                i = next(numbers)
                values = (math.sin(i / 50 + k) for k in range(CHANNELS))
                packed = struct.pack(f">{CHANNELS}f", *values)
                sender.send(message("/v", "f" * CHANNELS, packed))
                time.sleep(0.0001)
            return any(line.startswith("lumen: late: events wait") for line in self.lines)

        with sender:
            until(late, process=self.process, every_s=0.0)

    def interrupt(self, answer):
        """Interrupt, and wait for a line with this beginning."""
        self.process.send_signal(signal.SIGINT)
        until(lambda: any(line.startswith(answer) for line in self.lines))

    def end(self):
        """Wait for the end; return the exit code."""
        code = self.process.wait(HUNG_S)
        self._reader.join()
        return code


@pytest.fixture
def overloaded(tmp_path):
    flow = Overloaded(tmp_path)
    yield flow
    flow.process.kill()
    flow.end()
    flow.process.stderr.close()


def test_ctrl_c_under_overload_takes_nothing_more(tmp_path, overloaded):
    overloaded.flood()
    overloaded.interrupt("lumen: Ctrl-C: nothing more is taken")

    assert overloaded.end() == 0
    assert "events that still waited are dropped" in "".join(overloaded.lines)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["ended"], run["balanced"], run["aborted"]) == (True, True, False)
    total = run["account"]["total"]
    assert total["dropped"] > 100
    (tape,) = (tmp_path / "tap").glob("2*/*.ndjson")
    taken = CHANNELS * sum("value" in x for x in lines(tape))
    assert taken == total["received"] - total["dropped"]  # none after the signal


def test_a_second_ctrl_c_ends_at_once_and_run_json_has_aborted(tmp_path, overloaded):
    overloaded.flood()
    overloaded.interrupt("lumen: Ctrl-C: nothing more is taken")
    overloaded.interrupt("lumen: a second Ctrl-C: this run is aborted")

    assert overloaded.end() == 130
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["aborted"], run["ended"]) == (True, False)
