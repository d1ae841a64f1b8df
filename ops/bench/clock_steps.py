"""Losses of a live flow after steps of the host clock, and after a standstill.

    python -m ops.bench.clock_steps [--rounds 3] [--steps -3600 -25 -1 1 3600] [--stops 20 30 60]

The clock of the machine stays untouched. The flow runs with a preloaded library
(`shifted_clock.c`, built with `cc`) that shifts the wall clock of Python and of the engine, and the
receive stamps of the kernel. Two senders at 100 Hz each are not shifted; a recording of 44 Hz is
played beside them.

Steps: `gap` is the longest time without growth of `fused.jsonl` after the step (s), `stop` the time
until the end after SIGTERM, `null` the ticks without a value after the first value, `ticks` all
ticks (20 a second of the run, and none for the step), `replay` whether the tape gives the same
bytes. Stops: the process gets SIGSTOP; `kept` is the share of sent events that the kernel kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ops.bench.osc_flood import ROOT
from ops.bench.osc_fuzz import message
from ops.fakes.ports import free_port
from ops.simulate.devices import bundle
from ops.text.table import table

STEPS_S = (-3600.0, -25.0, -1.0, 1.0, 3600.0)
STOPS_S = (20.0, 30.0, 60.0)
MAX_GAP_S, MAX_STOP_S = 2.0, 3.0
BEFORE_S, AFTER_S = 5.0, 6.0
_HZ = 100
_OWN_S = -77.7
"""Clock of the second sender minus ours (s)."""
_THEN, _TAKE_S, _TAKE_HZ = 1_700_000_000, 600, 44
_NEVER = struct.pack("<qq", 0, 0)
_CONFIG = """version: 2
streams:
  - {{name: one, type: osc, addr: "127.0.0.1:{ports[0]}"}}
  - {{name: two, type: osc, addr: "127.0.0.1:{ports[1]}"}}
  - {{name: take, type: file, path: {folder}/take.ndjson}}
signals:
  pulse:
    members: {{"one:/v": {{lag_s: 0.0}}, "two:/v": {{lag_s: 0.0}}, "rec:/v": {{lag_s: 0.0}}}}
resample: {{target_hz: 20}}
exporter: {{http_port: {http}}}
output: {{dir: {folder}/out}}
tap: {{dir: {folder}/tap}}
"""
_REPLAY = """version: 2
streams:
  - {{name: tape, type: file, path: {tape}}}
signals:
  pulse:
    members: {{"one:/v": {{lag_s: 0.0}}, "two:/v": {{lag_s: 0.0}}, "rec:/v": {{lag_s: 0.0}}}}
resample: {{target_hz: 20}}
collect: {{block_s: 0.05}}
output: {{dir: {folder}/again}}
"""


class Senders:
    """Two evenly paced senders of a slow wave; the second has a clock of its own."""

    def __init__(self) -> None:
        self._out = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        self.ports = [free_port() for _ in self._out]
        self.sent = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Start to send."""
        for out, port in zip(self._out, self.ports, strict=True):
            out.connect(("127.0.0.1", port))
        self._thread.start()

    def stop(self) -> None:
        """Stop to send."""
        self._done.set()
        self._thread.join()
        for out in self._out:
            out.close()

    def _run(self) -> None:
        began = time.monotonic()
        n = 0
        while not self._done.wait(max(0.0, began + n / _HZ - time.monotonic())):
            value = struct.pack(">f", (n % 400) / 400)
            own = bundle(time.time() + _OWN_S, [("/v", ((n % 400) / 400,))])
            for out, data in zip(self._out, (message("/v", "f", value), own), strict=True):
                try:
                    out.send(data)
                    self.sent += 1
                except OSError:  # the receiver has ended
                    pass
            n += 1


class Flow:
    """A live flow under a wall clock that can be shifted.

    Parameters
    ----------
    folder : Path
    library : Path or None
        Library of the shifted clock; None: the clock is not shifted.
    """

    def __init__(self, folder: Path, library: Path | None) -> None:
        self.folder = folder
        self.senders = Senders()
        self._shift = folder / "shift"
        self._shift.write_bytes(_NEVER)
        with (folder / "take.ndjson").open("w") as file:
            for n in range(_TAKE_S * _TAKE_HZ):
                at = _THEN + n / _TAKE_HZ
                file.write(
                    json.dumps(
                        {
                            "ts": at - 5.0,
                            "source": "rec",
                            "key": "/v",
                            "value": n % 176 / 176,
                            "meta": {"rx": at},
                        }
                    )
                    + "\n"
                )
        config = folder / "live.yaml"
        self._http = free_port()
        config.write_text(_CONFIG.format(ports=self.senders.ports, folder=folder, http=self._http))
        environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        if library is not None:
            environ |= {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(self._shift)}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops", "run", str(config), "--recover", folder / "store"],
                cwd=ROOT,
                env=environ,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def wait_up(self) -> None:
        """Wait until both streams are up."""
        end = time.monotonic() + 120
        while not all(f"{name} is up" in self.log() for name in ("one", "two")):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(self.log())
            time.sleep(0.05)
        self.senders.start()

    def step(self, step_s: float) -> None:
        """Shift the wall clock of the flow."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("<qq", time.time_ns(), int(step_s * 1e9)))

    def watch(self, seconds: float) -> float:
        """Watch the ticks for some seconds; return the longest time without a tick (s)."""
        path = self.folder / "out" / "fused.jsonl"
        begin = grown = time.monotonic()
        size, gap = path.stat().st_size, 0.0
        while (now := time.monotonic()) < begin + seconds:
            if (found := path.stat().st_size) != size:
                size, grown = found, now
            gap = max(gap, now - grown)
            time.sleep(0.01)
        return gap

    def end(self, patience_s: float = 60.0) -> tuple[float, int]:
        """Stop the flow by SIGTERM; return the time until its end (s) and its exit code."""
        self.senders.stop()
        time.sleep(0.5)
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return time.monotonic() - begin, code

    def ready(self) -> str:
        """Return the answer of `/readyz`."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._http}/readyz", timeout=30
            ) as page:
                return str(page.read().decode())
        except urllib.error.HTTPError as error:
            return f"{error.code}: {error.read().decode()}"

    def log(self) -> str:
        """Return the standard error of the flow."""
        return (self.folder / "log").read_text()

    def ticks(self) -> list[dict[str, Any]]:
        """Return the ticks."""
        return _ticks(self.folder / "out")

    def taped_steps(self) -> list[float]:
        """Return the clock steps of the tape (s)."""
        lines = [
            json.loads(line)
            for segment in (self.folder / "tap").glob("2*/*.ndjson")
            for line in segment.read_text().splitlines()
        ]
        return [line["step"] for line in lines if "step" in line]

    def replays_alike(self) -> bool:
        """Replay the tape; return whether it gives the same ticks, byte for byte."""
        (tape,) = (self.folder / "tap").glob("2*")
        config = self.folder / "replay.yaml"
        config.write_text(_REPLAY.format(tape=tape, folder=self.folder))
        subprocess.run(
            [sys.executable, "-m", "ops", "run", str(config)],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        # The live run is paused, not ended: its last ticks are not written yet.
        live, again = ((self.folder / out / "fused.jsonl").read_bytes() for out in ("out", "again"))
        return len(live) > 0 and again.startswith(live)


def _ticks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "fused.jsonl").read_text().splitlines()]


def made(folder: Path) -> Path | None:
    """Build the library of the shifted clock; return None without a compiler."""
    cc = shutil.which("cc") or shutil.which("gcc")
    if cc is None or sys.platform != "linux":
        return None
    library = folder / "shifted_clock.so"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run([cc, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def stepped(folder: Path, library: Path, step_s: float, after_s: float = AFTER_S) -> dict[str, Any]:
    """Step the clock of a flow; return the figures of its run."""
    flow = Flow(folder, library)
    try:
        flow.wait_up()
        time.sleep(BEFORE_S)
        flow.step(step_s)
        gap = flow.watch(after_s)
        ready = flow.ready()
        stop_s, code = flow.end()
    finally:
        flow.process.kill()
    ticks = flow.ticks()
    values = [tick["signals"]["pulse"]["value"] for tick in ticks]
    first = next((i for i, value in enumerate(values) if value is not None), len(values))
    last = max((i for i, value in enumerate(values) if value is not None), default=0)
    taped = flow.taped_steps()
    return {
        "gap": gap,
        "stop": stop_s,
        "code": code,
        "null": sum(value is None for value in values[first:last]),
        "ticks": len(ticks),
        "taped": taped,
        "ready": ready,
        "replay": flow.replays_alike(),
        "named": f"{abs(step_s):g} s" in flow.log(),
    }


def stood_still(folder: Path, stop_s: float) -> dict[str, Any]:
    """Stop a flow for a while; return its account and the number of sent events."""
    flow = Flow(folder, None)
    try:
        flow.wait_up()
        time.sleep(BEFORE_S)
        flow.process.send_signal(signal.SIGSTOP)
        time.sleep(stop_s)
        flow.process.send_signal(signal.SIGCONT)
        time.sleep(AFTER_S)
        _, code = flow.end()
    finally:
        flow.process.kill()
    lost: dict[str, int] = {}
    for line in (flow.folder / "out" / "dead.jsonl").read_text().splitlines():
        letter = json.loads(line)
        lost[letter["reason"]] = lost.get(letter["reason"], 0) + letter["count"]
    account = json.loads((flow.folder / "out" / "run.json").read_text())["account"]["total"]
    return {"sent": flow.senders.sent, "account": account, "lost": lost, "code": code}


def main() -> int:
    """Run all rounds; return 1 if a figure is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=float, nargs="*", default=STEPS_S)
    parser.add_argument("--stops", type=float, nargs="*", default=STOPS_S)
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="lumen-clock-") as name:
        root = Path(name)
        library = made(root) if args.steps else None
        rows = []
        for n, step_s in enumerate(args.steps * args.rounds if library else ()):
            (folder := root / f"step{n}").mkdir()
            found = stepped(folder, library, step_s) if library else {}
            good = (
                found["gap"] <= MAX_GAP_S
                and found["stop"] <= MAX_STOP_S
                and not found["code"]
                and len(found["taped"]) == 1
                and abs(found["taped"][0] - step_s) < 0.01
                and found["named"]
                and found["replay"]
                and found["ticks"] < 20 * 60
                and not found["ready"].startswith("503")
            )
            failed += not good
            rows.append(
                (
                    f"{step_s:+g}",
                    f"{found['gap']:.2f}",
                    f"{found['stop']:.2f}",
                    str(found["null"]),
                    str(found["ticks"]),
                    "yes" if found["replay"] else "no",
                    "ok" if good else "!",
                )
            )
        if rows:
            print(table(("step s", "gap s", "stop s", "null", "ticks", "replay", ""), rows))
            print(f"{len(rows) - failed} of {len(rows)} unharmed\n")
        elif args.steps:
            print("No C compiler: the clock cannot be shifted here.\n")
        rows = []
        for stop_s in args.stops:
            (folder := root / f"stop{stop_s:g}").mkdir()
            found = stood_still(folder, stop_s)
            lost = found["lost"]
            late = found["account"]["late"]
            beyond = late + sum(lost.get(reason, 0) for reason in ("wild_stamp", "stopped"))
            failed += bool(beyond or found["code"])
            kept = found["sent"] - lost.get("kernel_full", 0)
            rows.append(
                (
                    f"{stop_s:g}",
                    str(found["sent"]),
                    str(kept),
                    str(late),
                    str(lost.get("wild_stamp", 0)),
                    json.dumps(lost),
                    "!" if beyond else "ok",
                )
            )
        if rows:
            print(table(("stood still s", "sent", "kept", "late", "wild", "lost", ""), rows))
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
