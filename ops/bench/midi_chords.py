"""Chords through JACK beside a busy flow: losses, duplicates, and jitter of the stamps.

    python -m ops.bench.midi_chords [--chords 1000] [--races 100] [--busy 0.1]

A keyboard plays chords of four and of eight notes in turn, each note-on with a unique velocity and
channel, beside two phones that send at 100 Hz each. The flow's tape holds the received notes;
`counted` is the number of lost messages in its account, note-offs included. In the second round a
thread beside the flow holds the interpreter for `--busy` seconds at a time. Races: a device appears
and disappears before the opened one in the list; the received notes must be those of the named one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import rtmidi  # type: ignore[import-untyped]

from ops.bench.osc_flood import ROOT, send
from ops.cli.guess.machine import MidiInputs
from ops.fakes.jack_server import missing, serving
from ops.fakes.ports import free_port
from sources.midi.port import MidiPortError, Port

CONFIG = """version: 2
rig: chords
streams:
  - {{name: keys, type: midi, device: Keys}}
  - {{name: phone_1, type: osc, addr: "127.0.0.1:{first}"}}
  - {{name: phone_2, type: osc, addr: "127.0.0.1:{second}"}}
signals:
  s:
    members:
      "phone_1:/flood": {{group: sensors}}
      "phone_2:/flood": {{group: sensors}}
facts: ["keys:note/1/60"]
resample: {{target_hz: 20, profile: low_latency}}
tap: {{dir: {folder}/tap}}
output: {{dir: {folder}/out}}
"""
NOTES = (60, 62, 64, 65, 67, 69, 71, 72)
_PHONE_HZ = 100.0
_REST_S = 0.05
"""Pause (s) between two times that the interpreter is held."""
_HELD_S = 0.05
"""Length (s) of a chord, and of the silence after it."""
_MAX_LOST, _MAX_LOST_BUSY = 0.005, 0.03


def chords(count: int) -> list[list[tuple[int, int, int]]]:
    """Return chords of four and eight notes in turn, as unique messages."""
    return [
        [(0x90 | k // 127 % 16, note, 1 + k % 127) for note in NOTES[: 8 if k % 2 else 4]]
        for k in range(count)
    ]


def play(out: Any, sequence: list[list[tuple[int, int, int]]]) -> dict[tuple[str, float], float]:
    """Play chords; return the send time of each note-on (s), by key and velocity."""
    sent = {}
    for chord in sequence:
        for status, note, velocity in chord:
            sent[f"note/{(status & 15) + 1}/{note}", float(velocity)] = time.time()
            out.send_message([status, note, velocity])
        time.sleep(_HELD_S)
        for status, note, _ in chord:
            out.send_message([status - 0x10, note, 0])
        time.sleep(_HELD_S)
    return sent


def busy_flow(config: str, busy_s: float) -> None:
    """Run a flow beside a thread that holds the interpreter for `busy_s` at a time."""
    begin = time.perf_counter()
    sum(range(2_000_000))
    steps = int(2_000_000 * busy_s / (time.perf_counter() - begin))

    def keep() -> None:
        while True:
            sum(range(steps))  # one instruction, during which no other thread runs
            time.sleep(_REST_S)

    if busy_s:
        threading.Thread(target=keep, daemon=True).start()
    from bytewax._bytewax import cli_main

    from flows.fusion import flow

    cli_main(flow(config), workers_per_process=1)


def measure(folder: Path, count: int, busy_s: float) -> dict[str, Any]:
    """Play chords to a flow; return the figures."""
    ports = [free_port(), free_port()]
    config, log = folder / "chords.yaml", folder / "log"
    config.write_text(CONFIG.format(first=ports[0], second=ports[1], folder=folder))
    keys = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="Keys")
    keys.open_virtual_port("out")
    command = [sys.executable, "-m", "ops.bench.midi_chords", "--flow", str(config)]
    with log.open("wb") as errors:
        process = subprocess.Popen([*command, "--busy", str(busy_s)], cwd=ROOT, stderr=errors)
    try:
        until = time.monotonic() + 60
        while b"keys is up" not in log.read_bytes() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(1.0)
        seconds = 2 * _HELD_S * count + 2.0
        phones = [threading.Thread(target=send, args=(p, _PHONE_HZ, seconds)) for p in ports]
        for phone in phones:
            phone.start()
        sent = play(keys, chords(count))
        for phone in phones:
            phone.join()
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
        keys.delete()
    return {"busy_s": busy_s, "chords": count, **_fate(folder, sent, log.read_text())}


def _fate(folder: Path, sent: dict[tuple[str, float], float], log: str) -> dict[str, Any]:
    """Return the received and lost notes, and the run's own account of them."""
    received: Counter[tuple[str, float]] = Counter()
    late: list[float] = []
    ends = 0
    for tape in sorted((folder / "tap").rglob("*.ndjson")):
        for line in map(json.loads, tape.read_text().splitlines()):
            if line.get("source") == "keys" and "value" in line:
                at = line["key"], float(line["value"])
                if not at[1]:
                    ends += 1
                    continue
                received[at] += 1
                if at in sent:
                    late.append(line.get("meta", {}).get("rx", line["ts"]) - sent[at])
    account = json.loads((folder / "out" / "run.json").read_text())["account"]["by_source"]["keys"]
    lost = len(sent) - len(received.keys() & sent.keys())
    late.sort()
    return {
        "note_ons": len(sent),
        "lost": lost,
        "lost_share": round(lost / len(sent), 5),
        "note_offs_lost": len(sent) - ends,
        "counted": account["dropped"],
        "named": "JACK missed" in log,
        "doubled": received.total() - len(received),
        "foreign": len(received.keys() - sent.keys()),
        **(
            {f"late_p{p}_ms": round(late[len(late) * p // 100] * 1e3, 2) for p in (1, 50, 99)}
            if late
            else {}
        ),
        "late_sd_ms": round(statistics.pstdev(late) * 1e3, 2) if late else None,
    }


def races(count: int) -> dict[str, int]:
    """Open a device while another one appears and disappears before it in the list."""
    devices = []
    for name in ("Beta", "Gamma"):
        out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name=name)
        out.open_virtual_port("out")
        devices.append(out)
    churn = subprocess.Popen([sys.executable, "-m", "ops.bench.midi_chords", "--churn"], cwd=ROOT)
    found: Counter[str] = Counter()
    port, inputs = Port("Beta", is_input=True), MidiInputs()
    try:
        until = time.monotonic() + 20
        while not any("Alpha" in each for each in inputs.look()[0]) and time.monotonic() < until:
            time.sleep(0.01)
        for _ in range(count):
            try:
                port.open()
            except MidiPortError as error:
                print(error, file=sys.stderr)
                found["refused"] += 1
                continue
            end = time.monotonic() + 2.0
            notes: set[int] = set()
            while time.monotonic() < end and not notes:
                for note, out in zip((11, 99), devices, strict=True):
                    out.send_message([0x90, note, 1])  # repeated: JACK may lose one
                time.sleep(0.03)
                notes = {message[1] for message, _ in port.take().messages}
            right = notes == {11} and port.facts[0] == "Beta:out"
            found["right" if right else "silent" if not notes else "wrong"] += 1
            port.release()
    finally:
        port.close()
        inputs.close()
        churn.kill()
        churn.wait()
        for out in devices:
            out.delete()
    kinds = ("right", "wrong", "silent", "refused")
    return {"races": count, **{kind: found[kind] for kind in kinds}}


def _churn() -> None:
    """Open and close a device repeatedly, which plays note 55 while it is open."""
    chance = random.Random(1)
    while True:
        out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="Alpha")
        out.open_virtual_port("out")
        until = time.monotonic() + chance.uniform(0, 0.1)
        while time.monotonic() < until:
            out.send_message([0x90, 55, 1])
            time.sleep(0.01)
        out.delete()
        time.sleep(chance.uniform(0, 0.05))


def main() -> int:
    """Measure; return 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chords", type=int, default=1_000)
    parser.add_argument("--races", type=int, default=100)
    parser.add_argument("--busy", type=float, default=0.1)
    parser.add_argument("--flow", help=argparse.SUPPRESS)
    parser.add_argument("--churn", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.flow:
        busy_flow(args.flow, args.busy)
        return 0
    if args.churn:
        _churn()
    if why := missing("jackd", "jack_lsp"):
        print(why)
        return 0
    name = f"lumen-bench-{os.getpid()}"
    os.environ["JACK_DEFAULT_SERVER"] = name
    good = True
    with serving(name):
        for busy_s, max_lost in ((0.0, _MAX_LOST), (args.busy, _MAX_LOST_BUSY)):
            if args.chords:
                with tempfile.TemporaryDirectory() as folder:
                    found = measure(Path(folder), args.chords, busy_s)
                print(json.dumps(found), flush=True)
                good &= found["lost_share"] <= max_lost and not found["doubled"] + found["foreign"]
        if args.races:
            raced = races(args.races)
            print(json.dumps(raced), flush=True)
            good &= raced["right"] == args.races
    return int(not good)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        raise SystemExit(main())
