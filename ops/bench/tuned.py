"""`lumen tune` on beats of machines, people and a heart, and its choice on recordings it never had.

    python -m ops.bench.tuned [--seeds 4] [--first 2000] [--seconds 600]
    python -m ops.bench.tuned --align 20 [--seconds 240]

Gains in force: kp 0.35, ki 0.08, once those for people (1.0, 0.5). `held` is the gain of each
half's choice on the other half. `new` is the objective of the proposed gains over that of the gains
in force on a recording of another seed, the worse half; beyond 1 the patch is worse than none. The
heart (`ecg_vp01`, R peaks) has no second recording. CPU time is that of one candidate, for ten
minutes.

With `--align`, the settings of `align` on so many recordings of three instruments of a laboratory
(10 and 20 dB, clocks and lags by the seed): a patch is counted, and one that is worse on a half.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from configs.load import load
from operators.bridge.bridge_config import BridgeConfig, LoopConfig, ReferenceConfig
from operators.bridge.reference import BeatRow
from operators.types import F64
from ops.bench.bridge import HEART, r_peaks
from ops.bench.clock_runs import LEAD_S, START
from ops.simulate.beats import BeatScenario, train
from ops.simulate.recording import make
from ops.simulate.scenario import laboratory
from ops.text.table import table
from ops.tune.held_back import Decision
from ops.tune.leave_one_out import tune_align
from ops.tune.loop_gains import GainTrials, RecordedReference, candidates, choose_gains, with_gains

CHANNEL = "osc_1:/beat"
BRIDGE = BridgeConfig(reference=ReferenceConfig(beat=CHANNEL))
HEART_LOOP = LoopConfig(tick_ms=720, min_tick_ms=350, max_tick_ms=1400)
PEOPLE = with_gains(BRIDGE, 1.0, 0.5, BRIDGE.phase.rebalance_window_s)
SCENARIOS = {
    "machine, 5 ms": (BeatScenario(), BRIDGE),
    "machine, gains for people": (BeatScenario(), PEOPLE),
    "person, 0.2 %": (BeatScenario(wander=0.002), BRIDGE),
    "person, 0.5 %": (BeatScenario(wander=0.005), BRIDGE),
    "person, 1 %": (BeatScenario(wander=0.01), BRIDGE),
}
"""Beats, and the bridge in force."""
CONFIG = """version: 2
streams: [{{name: r, type: file, path: {path}}}]
signals: {{pulse: {{members: {{"ure:pulse": {{group: ure}}, "s1:pulse": {{}}, "s2:pulse": {{}}}}}}}}
"""


@dataclass
class Tally:
    """Recordings for which gains were found, and patches that are worse on another recording."""

    recordings: int = 0
    found: int = 0
    worse: int = 0


def recorded(times: F64, delay: F64) -> RecordedReference:
    """Return the reference of beats at times (s), each known after a delay (s)."""
    known = START + times + delay
    moments, stamps = known.tolist(), (START + times).tolist()
    listed = sorted(zip(moments, stamps, strict=True))
    rows = [BeatRow(m, t, k, CHANNEL, 1.0, m, t) for k, (m, t) in enumerate(listed)]
    return RecordedReference(rows, [], START, float(known.max()) + 1.0)


def simulated(scenario: BeatScenario, seconds: float, seed: int) -> RecordedReference:
    """Return the beats of a scenario after 2 ms and an exponential 5 ms."""
    sent = train(scenario, seconds, seed).sent
    return recorded(sent, 0.002 + np.random.default_rng(seed).exponential(0.005, len(sent)))


def row(name: str, seed: str, decision: Decision, new: float | None, tally: Tally) -> list[str]:
    """Return the line of a recording, and count it."""
    best = decision.ordered[0]
    tally.recordings += 1
    tally.found += bool(decision.patch)
    tally.worse += new is not None and new > 1
    return [
        name,
        seed,
        " / ".join(f"{e:.4f}" for e in decision.current.errors),
        " / ".join(f"{e:.4f}" for e in best.errors),
        " / ".join(f"{100 * g:.0f}" for g in decision.held),
        best.title.partition(" window")[0] if decision.patch else "stays",
        "" if new is None else f"{new:.2f}",
    ]


def on_another(new: RecordedReference, bridge: BridgeConfig, decision: Decision) -> float | None:
    """Return the objective of a patch over that in force on a new recording, the worse half."""
    if not decision.patch:
        return None
    gain = decision.patch["bridge"]["phase"]["gain"]
    judge = GainTrials(new, bridge, LEAD_S)
    patched = with_gains(BRIDGE, gain["kp"], gain["ki"], BRIDGE.phase.rebalance_window_s)
    return 1 - min(judge.tried(patched).gains(judge.current))


def gains(seeds: range, seconds: float) -> Tally:
    """Print the table of the gains."""
    lines, tally, begin = [], Tally(), time.process_time()
    for name, (scenario, bridge) in SCENARIOS.items():
        for seed in seeds:
            decision = choose_gains(simulated(scenario, seconds, seed), bridge, LEAD_S)
            new = on_another(simulated(scenario, seconds, seed + 500), bridge, decision)
            lines.append(row(name, str(seed), decision, new, tally))
    runs = tally.recordings * (len(candidates(BRIDGE)) + 1) + 2 * tally.found
    each = (time.process_time() - begin) / max(runs, 1) * 600 / seconds
    if HEART.exists():
        peaks = r_peaks(HEART)
        heart = recorded(peaks, np.full(len(peaks), 0.007))
        decision = choose_gains(heart, replace(BRIDGE, loop=HEART_LOOP), LEAD_S)
        lines.append(row("heart", "", decision, None, tally))
    head = ["beats", "seed", "in force, by half", "best", "held, %", "patch", "new"]
    print(table(head, lines))
    print(
        f"found in {tally.found} of {tally.recordings}; worse on another recording: {tally.worse};"
        f" {each:.2f} s of CPU time a candidate"
    )
    return tally


def align(seeds: range, seconds: float) -> Tally:
    """Print the table of the settings of `align`."""
    lines, tally = [], Tally()
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="lumen-tuned-") as place:
            path = Path(place, "r.ndjson")
            snr_db = (10.0, 20.0)[seed % 2]
            make(laboratory(seed, snr_db, seconds, members=3), seed).write(path)
            Path(place, "c.yaml").write_text(CONFIG.format(path=path), "utf-8")
            decision = tune_align(load(Path(place, "c.yaml")).config, path)
        lines.append(row(f"{snr_db:g} dB", str(seed), decision, None, tally))
        tally.worse += bool(decision.patch) and min(best_gains(decision)) < 0
    print(table(["noise", "seed", "in force, by half", "best", "held, %", "patch", ""], lines))
    print(f"patches {tally.found} of {tally.recordings}; worse on a half: {tally.worse}")
    return tally


def best_gains(decision: Decision) -> tuple[float, float]:
    """Return the gains of the proposed candidate, by half."""
    return decision.ordered[0].gains(decision.current)


def main() -> int:
    """Print a table; return 1 where a patch is worse than the settings in force."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.tuned",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--align", type=int, metavar="RECORDINGS")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=2000)
    parser.add_argument("--seconds", type=float)
    args = parser.parse_args()
    if args.align is None:
        tally = gains(range(args.first, args.first + args.seeds), args.seconds or 600.0)
    else:
        tally = align(range(args.first, args.first + args.align), args.seconds or 240.0)
    return 1 if tally.worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
