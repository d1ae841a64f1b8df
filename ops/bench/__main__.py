"""Run the benches: `python -m ops.bench [NAME ...]` writes `ops/bench/RESULTS.md`.

Each bench is a command of its own and can be run alone; its output is kept unchanged. Named benches
are run, the sections of the others are kept; long benches are run only when named. Appended are
figures of speed beside earlier ones (`ops/bench/speed.md`), and rejected alternatives
(`ops/bench/alternatives.md`).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sinks.files.run_json import versions

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
_FENCE = "```"


class Bench(NamedTuple):
    """One command, its title, and its requirements (`bars`).

    `long`: it takes half an hour, or a whole machine.
    """

    name: str
    title: str
    command: tuple[str, ...]
    bars: str = ""
    long: bool = False


BENCHES = (
    Bench(
        "throughput", "A whole replay beside polars' as-of join", ("throughput", "--rounds", "3"),
        "Asked: a ratio of 0.40, goal 0.60. The join holds everything in memory and corrects "
        "nothing. The parts add up to the whole within 5 %.",
    ),
    Bench(
        "processes", "One replay in two processes", ("processes",),
        "Asked of two over one, 32 rigs evenly dealt: 1.8, goal 1.9; equal bytes.",
    ),
    Bench(
        "scale_out", "Many rigs: one process, two shards, a cluster of two",
        ("scale_out", "--rigs", "32", "--events", "7500000"),
        "Asked of one over the busier of two: shards 1.9, cluster 1.8; equal bytes. Needs the "
        "broker of developers; with `--files` none.", True,
    ),
    Bench(
        "many_rigs", "A thousand rigs",
        ("scale_out", "--rigs", "1000", "--events", "11400000"),
        "Goal: 1,000 rigs of 190 events/s in real time on one core, in catch-up.", True,
    ),
    Bench(
        "compiled_loops", "The compiled loops and their Python forms", ("compiled_loops",),
        "Asked of all together: 20 % of a replay. Bytes are equal.",
    ),
    Bench(
        "connectors", "Receivers of connectors under load", ("connectors",),
        "Asked: none lost, on one core: 5,000 MQTT messages, 20,000 WebSocket events, 20,000 OSC "
        "messages over TCP, 32 LSL channels at 500 Hz a second.",
    ),
    Bench(
        "kafka_in", "A topic against a file of its lines", ("kafka_in",),
        "Asked: at most 1 us an event more, in blocks of 64 lines. Needs the broker of developers.",
    ),
    Bench(
        "growth", "Memory", ("throughput", "--growth"),
        "Asked: at most 256 MiB, and 4e6 events within 16 MiB of 1e6.",
    ),
    Bench(
        "chain", "The stations alone", ("chain",),
        "Microseconds of CPU an event. Asked: 2 at 3.2 kev/s, 20 at 190 ev/s.",
    ),
    Bench(
        "packets", "The stations alone by block length", ("chain", "--packets", "--calls"),
        "One rig of 190 events/s, 5 Hz: numpy calls a packet, and microseconds of CPU an event. "
        "Asked of 10 s / 1 s / live: 5 / 15 / 60 us, goal 3 / 8 / 30; low latency at 100 Hz: 10 % "
        "of a core, goal 5.",
    ),
    Bench(
        "snapshots", "Snapshot, drill and restore of 1 GiB", ("snapshots",),
        "Asked: a drill within 60 s; no commit beside a snapshot longer than 5 s.",
    ),
    Bench(
        "damaged_stores", "Damaged recovery stores", ("damaged_stores",),
        "Asked of each: refused by name in at most four lines, or resumed to equal bytes.",
    ),
    Bench(
        "snapshot_kills", "Snapshot, restore and prune, killed", ("snapshot_kills",),
        "Each dies at each file that it touches, and at 200 random times. Asked: no fault.",
    ),
    Bench(
        "accuracy", "Accuracy and honesty, beside common methods", ("accuracy",),
        "Five instruments for ten minutes a seed, each sensor's clock stepping by 0.5 s at half "
        "time. Bars are for many seeds pooled; ! is beyond.",
    ),
    Bench(
        "hindsight", "Two passes over a recording", ("accuracy", "--hindsight", "--from", "3"),
        "The same recordings in one pass and in two. Asked of hindsight, first span: 1.15 of the "
        "oracle, goal 1.05; mapped time 0.005 ms, later 0.004, within 10 s after a step 0.005.",
    ),
    Bench(
        "gains", "Gains that are 2 % off, the reference's scale", ("accuracy", "--gains", "0.02"),
        "Asked of fused RMSE / oracle: 1.03 / 1.035 / 1.035, goal 1.015 / 1.024 / 1.026.",
    ),
    Bench(
        "two", "Two members", ("accuracy", "--members", "2"),
        "Asked of the fused value's error squared over variance: 0.9 to 1.1, goal 0.97 to 1.03.",
    ),
    Bench(
        "scale", "Members in other units, and members that disagree", ("scale",),
        "Asked of two that disagree by d: 95 % within 2 sd, an sd within 30 % of d / 2 and noise.",
    ),
    Bench(
        "truth", "Real signals and recordings whose truth is known", ("truth",),
        "Asked: error squared over variance of 0.5 to 2 (goal 0.8 to 1.3), no worse than the best "
        "member alone, 1.05 of the error with true gains.",
    ),
    Bench("guard", "Outliers and peaks", ("guard",),
          "Asked: at most 0.3 % of the ECG, BVP and gait taken, and less than 2 % of the R waves."),
    Bench("lag", "The lag of one window", ("lag",)),
    Bench(
        "lags", "The lags of whole recordings", ("lag", "--recordings", "20"),
        "Asked: an error squared over variance of 0.8 to 1.25.",
    ),
    Bench(
        "ramps", "Lags that move", ("ramps",),
        "Asked: the truth inside in 95 % of ticks, a median bound of 8 ms (goal 2), an RMS error "
        "after 120 s of 3 ms (goal 0.5).",
    ),
    Bench(
        "lock", "From the first row to a lag that is confirmed", ("lock",),
        "Asked: 22 s of data (goal 14), 20 ms (goal 5).",
    ),
    Bench(
        "ladder", "Pairs that have nothing in common, searched at several rates",
        ("pairs", "--ladder"), "Asked: none of 1,000 of each kind (goal 5,000).", True,
    ),
    Bench(
        "pairs", "Pairs that have nothing to do with each other", ("pairs",),
        "Asked: at most one confident lag in a thousand.",
    ),
    Bench("indicators", "The five indicators", ("indicators",),
          "Asked: the mean over 20 windows within 0.02 at 6, 10 and 20 dB."),
    Bench("bridge", "The beat clock beside other controllers", ("bridge",),
          "Median / worst of the seeds: + goal, = asked, ! beyond what is asked."),
    Bench("bridge_in_flow", "The beat clock with the wait of the reorder buffer",
          ("bridge", "--delay", "0.1"), "As above, beats known 0.1 s later."),
    Bench("first_beat", "From the first beat to state E2", ("first_beat",),
          "Asked of the median: 5 s and 26 s. Five milliseconds of jitter keep the phase of some "
          "seeds beyond 0.02 cycles until earlier beats weigh less."),
    Bench("bridge_protocol", "States of the bridge at their thresholds", ("bridge_protocol",),
          "Asked: 10 changes an hour, 24 h of ticks at 5 Hz in 60 s, 3 silences in 300 s."),
    Bench("hard_stop", "From a hard stop to silence, live", ("hard_stop",),
          "A run in real time with the kernel's stamps. Asked: within one bridge tick and the "
          "lead, 100 of 100."),
    Bench("bridge_cuts", "The bridge however cut, and its cost", ("bridge_cuts",),
          "Asked: equal bytes in 200 of 200 cuttings, 0.6 ms a second of data, goal 0.1."),
    Bench("half_hour", "Half an hour of the beat clock in the whole flow", ("half_hour",),
          "Asked: phase_diff at most 0.03 cycles, sync_quality p05 at least 0.85."),
    Bench("tuned", "Gains of the beat clock, tuned", ("tuned",),
          "Asked: gains for machines, people and the heart in 4 of 5, none worse on another "
          "recording, ten candidates of ten minutes in 60 s."),
    Bench("tuned_align", "Settings of align, tuned", ("tuned", "--align", "20"),
          "Asked: no patch that is worse on either half."),
    Bench("chaos", "Faults on recordings of a band with a bridge", ("chaos", "--seeds", "20"),
          "Median / worst of the seeds. Asked: an alarm within 60 s of each break of a budget, "
          "none without, recovery within 300 s, 20 of 20."),
    Bench("shadow", "A candidate beside the running flow", ("shadow",),
          "Asked of a million ticks of one version: all identical, 10 us of CPU a tick; with 5 % "
          "removed, a unique ratio of 0.95 +- 0.001."),
    Bench("gates", "Gates and faults of a Prometheus", ("gates",),
          "Asked: no GO under 100 faults, an answer within 2 s."),
    Bench("start", "The start of a process", ("start",),
          "Asked: 0.15 CPU s of `lumen --help`, 0.35 of a replay."),
    Bench("rigs", "Many rigs in one recording", ("rigs",),
          "Asked of 64 rigs: 6 us an event, goal 3."),
    Bench("live_rigs", "Live rigs", ("live_rigs",),
          "Asked of 190 events/s, accurate: 80 rigs a core, goal 300; low latency at 100 Hz: 10 % "
          "of a core, goal 5."),
    Bench("wide", "32 channels at 1 kHz", ("wide",),
          "Asked of a number: 3 us, goal 1.5, and 0.5 of polars' join, goal 1.0; 300 MiB."),
    Bench("bound", "The sync bound", ("bound",), "Asked: the true error inside in 95 % of ticks."),
    Bench("single", "What one seed spreads", ("single", "--keep", "--first", "9000"),
          "Seeds that go beyond the bars of the self-test; about one of a thousand each.", True),
    Bench("resampler", "The resampler, and what low latency costs", ("resampler",),
          "Asked of `accurate`: 70 dB down at 0.52, 0.05 dB to 0.3, losses below -65 dB."),
    Bench("watched", "Being watched", ("watched",),
          "Asked of the exporter's CPU time inside a flow that is read once a second: 2 %."),
    Bench("scrape", "Scrapes beside load", ("scrape",),
          "Asked: a p99 of 50 ms beside 20,000 events/s, 150 ms beside 200 slow clients, none "
          "failed."),
    Bench("idle_clients", "Idle connections", ("idle_clients",),
          "Asked: 10,000 attempted, /healthz within 200 ms in 99 % of requests, none failed."),
    Bench("api", "The read-only API", ("api",),
          "Asked: a page of 1,000 ticks within 50 ms in 95 %, 500,000 ticks summed within 1 s, a "
          "scrape p99 of 50 ms beside 200 slow clients."),
    Bench("smoother", "A clock by its past alone, and from the whole of a recording",
          ("smoother",), "Asked of the whole, exp: 0.005, 0.004 and 0.005 ms, z2 0.7 to 1.5."),
    Bench("xdf", "XDF files beside pyxdf", ("xdf",), "RMS error of the host time."),
    Bench("xdf_load", "Loading XDF files beside pyxdf", ("xdf_load",),
          "Asked: a million numbers a CPU second, 40 B a number."),
    Bench("columnar", "Parquet and Arrow beside JSON lines", ("columnar",),
          "Asked: 0.6 of polars' join from JSON lines, goal 1.0, and equal results."),
    Bench("columnar_growth", "Memory of a replay from Parquet", ("columnar", "--growth"),
          "Asked: at most 256 MiB, and 4e6 events within 16 MiB of 1e6."),
    Bench("forms", "Recordings of each form", ("forms",),
          "Asked: Parquet 3 times the events a CPU second of JSON lines, an MCAP message within "
          "20 us; 4e6 events within 16 MiB of 1e6."),
    Bench("delimited", "Delimited text to columns", ("delimited",), "Beside numpy's own reader."),
    Bench("kill_points", "Exactness", ("kill_points",),
          "Kills, torn writes, half-made stores and full disks after which a resumed run must give "
          "the bytes of the unbroken one."),
    Bench("hostile_files", "Mutated files of earlier runs", ("hostile_files",),
          "Asked of 1,000: 0 files outside touched, 0 panics."),
    Bench("osc_latency", "From OSC in to the fused tick", ("osc_latency",),
          "Asked, beyond the algorithm's own delay at 100 Hz: p50 of 10 ms, p99 of 30.", True),
    Bench("osc_flood", "A flood of OSC", ("osc_flood", "--rate", "5e4", "--seconds", "10"),
          "Asked: sent = used + counted losses, back to normal within 1 s.", True),
    Bench("osc_fuzz", "Mutated datagrams", ("osc_fuzz",),
          "Asked: no escape, none slower than 5 ms, less than 20 MB.", True),
    Bench("midi_chords", "Chords through JACK", ("midi_chords",),
          "Asked: at most 0.5 % of notes lost, 3 % beside a thread that keeps the interpreter for "
          "0.1 s at a time, none doubled, the right device in 100 of 100 races.", True),
    Bench("ure_faults", "A URE that breaks in every known way", ("ure_faults",),
          "Asked: a p99 of 1.5 ticks in each mode, less than 32 MB.", True),
    Bench("clock_steps", "A host's clock that is set, and a process that stands still",
          ("clock_steps",),
          "Asked: ticks within 2 s, an end within 3 s in 15 of 15; no event late or wild.", True),
    Bench("live_kills", "A live flow that is killed", ("live_kills",),
          "Asked: no taped event lost or used twice.", True),
    Bench("soak", "Half an hour of a live flow", ("soak",),
          "Asked: the account balances, at most 2 MiB/h, threads and files as they were.", True),
    Bench("notified", "All sensors stop", ("notified",),
          "Asked: notified within 60 s in 20 of 20, goal 15; resolved within 60.", True),
    Bench("healthy", "A healthy hour", ("healthy",), "Asked: no alert.", True),
    Bench("quiet", "The live example under the shipped alerts", ("quiet",),
          "Asked: no alert in ten minutes beside a real Prometheus, and a good smoke test.", True),
    Bench("overload", "OSC out and Ctrl-C on a machine that is too busy", ("overload",),
          "Asked at 12 busy loops: OSC out 50 times a second, the first line after Ctrl-C within "
          "0.2 s, nothing taken after it, the end within 10 s, of a second one within 1 s.", True),
    Bench("tick_jitter", "Ticks of the clock beside a flow", ("tick_jitter", "--seconds", "20"),
          "Asked: p95 of 5 ms and p99 of 10 on a quiet machine, else the p95 of a bare sleeping "
          "process + 5 ms; ahead: none after its time.", True),
    Bench("history", "The history", ("history",),
          "Asked of the flow's throughput, on two free cores: 0.97. Beside a sleeping process "
          "instead of the follower it is 1.00: two busy processes slow each other.", True),
    Bench("history_postgres", "The history in PostgreSQL", ("history_postgres", "--stopped", "600"),
          "Asked: no line lost, none twice, caught up in two minutes after a stop of ten.", True),
    Bench("history_kills", "The history through kills", ("history_kills",),
          "Asked: no line lost, none twice.", True),
    Bench("kafka_edge", "The tape as a topic, the broker away for five minutes", ("kafka_edge",),
          "Asked: none of a tape lost, none twice.", True),
    Bench("page", "An hour of the live page", ("page",),
          "Asked: no growth, no error, a first picture within 1.5 s.", True),
)  # fmt: skip


SPEED = (
    "throughput", "growth", "columnar", "packets", "rigs", "live_rigs", "wide", "processes",
    "start", "watched", "scrape", "osc_latency",
)  # fmt: skip
"""The benches of `python -m ops.bench speed`."""


def section(bench: Bench) -> str:
    """Run a bench; return its output as a section."""
    module, *args = bench.command
    line = " ".join(("python -m", f"ops.bench.{module}", *args))
    print(f"$ {line}", file=sys.stderr, flush=True)
    ran = subprocess.run(
        (sys.executable, "-m", f"ops.bench.{module}", *args), capture_output=True, text=True
    )
    output = ran.stdout.rstrip() or ran.stderr.rstrip()[-2000:]
    failed = f"\n\nExit code {ran.returncode}." if ran.returncode else ""
    print(output, file=sys.stderr)
    head = [f"## {bench.title}", "", f"`{line}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"]
    bars = [bench.bars, ""] if bench.bars else []
    return "\n".join([*head, "", *bars, f"{_FENCE}text", output, f"{_FENCE}{failed}", ""])


def sections(text: str) -> dict[str, str]:
    """Return the sections of an earlier file by their titles."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part.rstrip() + "\n" for part in parts}


def machine() -> str:
    """Return the machine and the versions, as a paragraph."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    found = ", ".join(f"{name} {v}" for name, v in versions().items() if v)
    return f"{os.cpu_count()} cores of {cpu}, {platform.system()} {platform.release()}; {found}."


def main() -> int:
    """Run the benches and write the file."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    names = ["speed", *(b.name for b in BENCHES)]
    parser.add_argument("name", nargs="*", choices=[[], *names], default=[])
    chosen = set(parser.parse_args().name) or {b.name for b in BENCHES if not b.long}
    if "speed" in chosen:
        chosen |= set(SPEED)
    kept = sections(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    parts = []
    for bench in BENCHES:
        if bench.name in chosen:
            parts.append(section(bench))
        elif bench.title in kept:
            parts.append(kept[bench.title])
    notes = [(HERE / name).read_text("utf-8") for name in ("speed.md", "alternatives.md")]
    RESULTS.write_text("\n".join((f"# Figures\n\n{machine()}\n", *parts, *notes)), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
