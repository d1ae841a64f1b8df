"""Faults on recordings of a band with a bridge: alarms, rollback, recovery.

    python -m ops.bench.chaos [--seeds 3] [--first 0] [--case NAME ...] [--keep DIR]

Three members, the entropy that an engine reports, and beats of 4.6 to 5.4 Hz, with a fault of its
default duration after 200 s. The truth about phase and sync quality is that of the output's ticks
against the noise-free beats, in the window of the bridge; the constant part of a delay, 50 ms in
`jitter`, is no error, because stamps cannot show it. `bias` is the largest true phase difference
(cycles). Noise on the members breaks the budgets of entropy and coherence from its begin, and so
does a reported entropy of 0.35; other faults break neither.

A case is good if

- an alarm comes within 60 s of the begin of each break that lasts 10 s: a record that fires, or a
  change to a worse state;
- without a break there is none;
- at most 300 s after the end of the fault (of a step: after its begin) the true phase and sync are
  within their budgets, and the clock is locked in E2 with sync >= 0.85, phase <= 0.02 and safety
  gain 1 for 10 s;
- state E4 is entered exactly where rollback_ratio_5m passes 0.05, and left by the release alone,
  which the recording holds 150 s after the end of the fault.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from flows.run import execute
from operators.bridge.trend import SyncWindow
from operators.lines import BridgeFrame, EvidenceRecord
from operators.types import F64
from ops.chaos.fault import DELAY_S, DURATIONS, JITTER_S, REPORTED, Disturbance
from ops.cli.chaos import rewrite
from ops.simulate.beats import BeatScenario
from ops.simulate.recording import START, make
from ops.simulate.scenario import Scenario, Sensor
from ops.text.table import table

AT_S, AFTER_S, RELEASE_S, SETTLED_S = 200.0, 330.0, 150.0, 60.0
MAX_ALARM_S, MAX_RECOVERY_S, MIN_BREAK_S, GOOD_S = 60.0, 300.0, 10.0, 10.0
WINDOW_S, SYNC, PHASE = 90.0, 0.85, 0.02
_Line = TypeVar("_Line")
WHOLE, DISTURBED = "whole.ndjson", "disturbed.ndjson"
BEAT, REPORTED_CHANNEL = "osc_1:/beat", f"ure:{REPORTED}"
CONFIG = """\
version: 2
streams: [{{name: r, type: file, path: {path}, speed: 0}}]
signals:
  pulse:
    reference: "ure:pulse"
    members: {{"ure:pulse": {{group: ure}}, "osc_2:/wrist/pulse": {{}}, "osc_3:/chest/pulse": {{}}}}
facts: ["{fact}"]
evidence: {{rules: [{rules}]}}
bridge: {{reference: {{beat: "{beat}"}}}}
output: {{dir: {out}}}
"""
RULES = """\
- {name: phase, when: "bridge_phase_diff > 0.02", for_s: 5, risk: phase}
- {name: sync, when: "bridge_sync_quality < 0.85", for_s: 5, risk: sync}
- {name: entropy, when: "entropy_ratio > 0.18", for_s: 10, risk: entropy}
- {name: coherence, when: "coherence < 0.72", for_s: 5, risk: coherence}
- {name: rollback, when: "rollback_ratio_5m > 0.05", risk: rollback}
"""
CASES = {
    "delay": Disturbance("delay", AT_S),
    "jitter": Disturbance("jitter", AT_S),
    "spike": Disturbance("spike", AT_S),
    "entropy": Disturbance("spike", AT_S, on=(REPORTED_CHANNEL,), entropy=0.35),
    "loss": Disturbance("loss", AT_S),
    "step": Disturbance("step", AT_S),
    "tempo": Disturbance("step", AT_S, on=(BEAT,), tempo=1.4),
    "stop": Disturbance("stop", AT_S),
}
WORSE = ("unmet", "entropy", "residual", "ratio", "rollback")
"""Causes of the changes to a worse state."""


class ChaosFigures(NamedTuple):
    """Results of one run (s); NaN where there is none.

    `bias`: the largest true phase difference (cycles). `broken`: time for which the true phase or
    sync is beyond its budget. `alarm`: the longest time from the begin of a break to an alarm,
    infinite without one. `needless`: alarms without a break. `recovery`: after the end of the
    fault. `e4`: changes to E4. `causeless`: those without their cause.
    """

    bias: float
    broken: float
    alarm: float
    needless: int
    recovery: float
    e4: int
    causeless: int

    @property
    def good(self) -> bool:
        """Whether all that is asked is reached."""
        return (
            not self.alarm > MAX_ALARM_S
            and not self.needless
            and self.recovery <= MAX_RECOVERY_S
            and not self.causeless
        )


def scenario(seconds: float, seed: int) -> Scenario:
    """Return three members, the reported entropy and the beats."""
    rate_hz = float(np.random.default_rng([seed, 15]).uniform(4.6, 5.4))
    return Scenario(
        seconds=seconds,
        sensors=(
            Sensor("ure", "pulse", 10.0, "ure"),
            Sensor("osc_2", "/wrist/pulse", 15.0, offset_s=7.905, skew_ppm=-140.0, lag_s=0.42),
            Sensor("osc_3", "/chest/pulse", 20.0, offset_s=-1.2, skew_ppm=60.0, lag_s=0.2),
        ),
        facts_every_s=2.0,
        beats=BeatScenario(channel=BEAT, rate_hz=rate_hz, offset_s=-3.2, skew_ppm=35.0),
    )


def run(name: str, seed: int, place: Path) -> ChaosFigures:
    """Simulate, disturb, run and judge one case."""
    fault = CASES[name]
    fault = fault._replace(for_s=DURATIONS[fault.mode], seed=seed)
    whole = make(scenario(AT_S + fault.for_s + AFTER_S, seed), seed)
    whole.write(place / WHOLE)
    disturbed = place / DISTURBED
    begin, end = rewrite(str(place / WHOLE), disturbed, fault)["window"]
    over = begin if end is None else end
    _release(disturbed, over + RELEASE_S)
    (place / "rules.yaml").write_text(RULES, "utf-8")
    config = CONFIG.format(
        path=disturbed,
        fact=REPORTED_CHANNEL,
        rules=place / "rules.yaml",
        beat=BEAT,
        out=place / "out",
    )
    (place / "chaos.yaml").write_text(config, "utf-8")
    out = execute(place / "chaos.yaml", progress=False)
    frames = _read(out / "bridge.jsonl", BridgeFrame)
    records = [
        record
        for record in _read(out / "evidence.jsonl", EvidenceRecord)
        if record.state == "firing" and record.rule != "calibrate"
    ]
    times = _true_times(np.array(whole.truth["beats"]["times"]), fault, begin, over, place)
    truth = list(true_figures(frames, times))
    breaks = list(true_breaks(truth))
    broken = sum(b - a for a, b in breaks)
    ended = max((b for _, b in breaks), default=over)
    if fault.mode == "spike":
        breaks.append((begin, over))
    alarms = sorted(
        [r.ts for r in records if r.ts > START + SETTLED_S]
        + [f.ts for f in frames if f.why in WORSE]
    )
    # A figure over time may alarm until its window has passed, and cross its budget a bit before.
    needless = sum(not any(a - GOOD_S <= t <= b + 2 * WINDOW_S for a, b in breaks) for t in alarms)
    entered = [f.ts for f in frames if f.why in ("ratio", "rollback")]
    ratio = [r.ts for r in records if r.rule == "rollback"]
    matched = sum(any(abs(a - b) < 1.0 for b in ratio) for a in entered)
    return ChaosFigures(
        max((phase for _, phase, _ in truth), default=math.nan),
        broken,
        max((_first_after(a, alarms) for a, _ in breaks), default=math.nan),
        needless,
        max(recovered(frames, over), ended) - over,
        len(entered),
        len(entered) + len(ratio) - 2 * matched,
    )


def _release(recording: Path, at: float) -> None:
    """Put a release into a recording, at its arrival (s)."""
    decoder = msgspec.json.Decoder(dict)
    lines = recording.read_bytes().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if decoder.decode(line)["meta"]["rx"] >= at)
    lines.insert(place, b'{"control":"bridge.release","rx":%.6f,"by":"bench"}\n' % at)
    recording.write_bytes(b"".join(lines))


def _read(path: Path, kind: type[_Line]) -> list[_Line]:
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]


def _true_times(times: F64, fault: Disturbance, begin: float, end: float, place: Path) -> F64:
    """Return the beats' host times (n,) with the constant part of the fault."""
    inside = (times >= begin) & (times < end)
    if fault.tempo is not None:
        # By how much the beats moved, as a line without their jitter.
        before, after = (_arrivals(place / name) for name in (WHOLE, DISTURBED))
        moved = np.array([(rx, after[seq] - rx) for seq, rx in before.items() if rx >= begin])
        line = np.polynomial.Polynomial.fit(moved[:, 0], moved[:, 1], deg=1)
        return np.where(times >= begin, times + line(times), times)
    if fault.mode == "delay":
        return times + inside * DELAY_S
    return times + inside * JITTER_S[0] if fault.mode == "jitter" else times


def _arrivals(recording: Path) -> dict[int, float]:
    """Return the arrivals of the beats by their numbers."""
    source, _, key = BEAT.partition(":")
    decoder = msgspec.json.Decoder(dict)
    events = (decoder.decode(line) for line in recording.read_bytes().splitlines())
    return {
        x["meta"]["seq"]: x["meta"]["rx"]
        for x in events
        if (x.get("source"), x.get("key")) == (source, key)
    }


def true_figures(frames: Sequence[BridgeFrame], times: F64) -> Iterator[tuple[float, float, float]]:
    """Yield time (s), true phase difference (cycles) and true sync after the first lock.

    Parameters
    ----------
    frames : sequence of BridgeFrame
    times : float64 (n,)
        Host times of the beats without noise; a beat is a tick.
    """
    ticks = [f for f in frames if f.why is None]
    at, beat = np.array([f.ts for f in ticks]), np.array([f.beat for f in ticks], np.float64)
    error = np.arange(len(times)) - np.interp(times, at, beat)
    error -= np.round(error)
    known = np.flatnonzero((times >= at[0]) & (times <= at[-1]))
    known = known[np.argsort(times[known], kind="stable")]
    window = SyncWindow(WINDOW_S)
    for i, j in pairwise(known.tolist()):
        ts = float(times[i])
        window.add(ts, float(error[i]), float(times[j]) - ts)
        if ts > START + SETTLED_S:
            yield ts, *window.at(ts)


def true_breaks(figures: Iterable[tuple[float, float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the spells of 10 s and more with phase or sync beyond their budgets."""
    since = newest = math.nan
    for ts, phase_diff, sync in figures:
        if phase_diff > PHASE or sync < SYNC:
            since, newest = (ts if math.isnan(since) else since), ts
            continue
        if newest - since >= MIN_BREAK_S:
            yield since, newest
        since = math.nan
    if newest - since >= MIN_BREAK_S:
        yield since, newest


def recovered(frames: Iterable[BridgeFrame], end: float) -> float:
    """Return the time from which on all is good for 10 s, at or after `end`; else infinity (s)."""
    since = math.nan
    for f in frames:
        if f.why is not None or f.known < end:
            continue
        known = f.sync_quality is not None and f.phase_diff is not None
        good = known and f.sync_quality >= SYNC and f.phase_diff <= PHASE  # type: ignore[operator]
        good = good and (f.lock, f.state, f.safety_gain) == ("locked", "E2", 1.0)
        since = (f.known if math.isnan(since) else since) if good else math.nan
        if f.known - since >= GOOD_S:
            return since
    return math.inf


def _first_after(begin: float, alarms: Sequence[float]) -> float:
    """Return the time from a begin to the first alarm; one just before it counts as at once."""
    return min((max(t - begin, 0.0) for t in alarms if t >= begin - GOOD_S), default=math.inf)


def _row(name: str, found: Sequence[ChaosFigures]) -> tuple[str, ...]:
    def spread(values: Iterable[float], digits: int = 1) -> str:
        known = [x for x in values if not math.isnan(x)]
        return f"{median(known):.{digits}f} / {max(known):.{digits}f}" if known else "-"

    good = sum(f.good for f in found)
    return (
        name,
        spread((f.bias for f in found), 3),
        spread(f.broken for f in found),
        spread(f.alarm for f in found),
        str(sum(f.needless for f in found)),
        spread(f.recovery for f in found),
        str(sum(f.e4 for f in found)),
        str(sum(f.causeless for f in found)),
        f"{good} of {len(found)}" + ("" if good == len(found) else " !"),
    )


def main() -> int:
    """Run the cases; exit code 1 if any is not good."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--keep", type=Path, help="folder for the runs, by case and seed")
    args = parser.parse_args()
    rows, bad = [], False
    for name in args.case:
        found = []
        for seed in range(args.first, args.first + args.seeds):
            with tempfile.TemporaryDirectory() as temporary:
                place = Path(temporary)
                if args.keep:
                    place = args.keep / f"{name}_{seed}"
                    place.mkdir(parents=True)
                found.append(run(name, seed, place))
        rows.append(_row(name, found))
        bad |= not all(f.good for f in found)
    head = (
        "case", "bias, cycles", "truly broken, s", "alarm after, s", "needless", "recovery, s",
        "E4", "causeless", "good",
    )  # fmt: skip
    print(table(head, rows))
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main())
