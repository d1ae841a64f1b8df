"""`lumen tune`: settings that a recording shows to be better, as a patch of the configuration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from configs.inputs import FileStream
from configs.load import load
from configs.schema import Config
from operators.bridge.bridge_config import GainConfig
from operators.bridge.gains import GainSchedule
from ops.text.table import table
from ops.tune.leave_one_out import check_members, tune_align
from ops.tune.loop_gains import tune_gains
from ops.tune.recorded_packets import TuneError
from ops.tune.rule_of_thumb import by_thumb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen tune`."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[RECORDING] CONFIG",
        help="a recording or tape, by default that of the configuration; with --method rules a"
        " bridge.jsonl or bench log, by default that of its output folder",
    )
    parser.add_argument(
        "--over",
        choices=("gains", "align", "all"),
        default="gains",
        help="gains of the beat clock, or settings of align; default %(default)s",
    )
    parser.add_argument(
        "--method",
        choices=("replay", "rules"),
        default="replay",
        help="replays of candidates, or the rule of thumb of v1.9; default %(default)s",
    )
    parser.add_argument(
        "--entropy",
        type=_ratio,
        metavar="RATIO",
        help="show the gains in force at an entropy ratio, 0 to 1",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file of the patch; default standard output; never overwrites",
    )


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an entropy ratio, 0 to 1")
    return ratio


def main(args: argparse.Namespace) -> int:
    """Tune, or show the gains at an entropy ratio.

    Returns
    -------
    int
        0, also where nothing is found; 2 for a wrong call.
    """
    if len(args.paths) > (2 if args.entropy is None else 1):
        usage = "[RECORDING] CONFIG" if args.entropy is None else "--entropy RATIO CONFIG"
        raise TuneError(f"{len(args.paths)} paths, expected {usage}")
    config = load(args.paths[-1]).config
    if args.entropy is not None:
        print(gains_at(config, args.entropy))
        return 0
    if args.out is not None and args.out.exists():
        raise TuneError(f"{args.out} exists; a patch never overwrites")
    source = Path(args.paths[0]) if len(args.paths) > 1 else _own(config, args.method)
    patch = _by_rules(config, source) if args.method == "rules" else _replay(config, source, args)
    if patch:
        _write(patch, args.out)
    return 0


def _own(config: Config, method: str) -> Path:
    """Return the recording of a configuration, or its results for the rule of thumb."""
    if method == "rules":
        return Path(config.output.dir, "bridge.jsonl")
    files = [stream.path for stream in config.streams if isinstance(stream, FileStream)]
    if len(files) != 1:
        raise TuneError(f"the configuration has {len(files)} recordings, expected one, or a path")
    return Path(files[0])


def gains_at(config: Config, entropy: float) -> str:
    """Return the gains in force at an entropy ratio, as a table.

    Raises
    ------
    TuneError
        The configuration has no bridge.
    """
    if config.bridge is None:
        raise TuneError("the configuration has no bridge")
    gains = GainSchedule(config.bridge.phase, config.bridge.nonlinear_gain).at(entropy)
    row = [f"{entropy:g}", *(f"{x:.4f}" for x in gains)]
    return table(("entropy ratio", "kp (1/s)", "ki (1/s^2)", "kd"), [row])


def _replay(config: Config, recording: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Print the decisions; return their patch."""
    patch: dict[str, Any] = {}
    if not recording.exists():
        raise TuneError(f"{recording} does not exist")
    if args.over != "align":
        decision = tune_gains(config, recording)
        print("gains: phase error at the beats + 0.1 of the change of the tick, rms (cycles)")
        print(*decision.lines(), sep="\n")
        patch |= decision.patch
    if args.over != "gains":
        try:
            check_members(config)
        except TuneError as error:
            if args.over == "align":
                raise
            print(*error.lines(), sep="\n", file=sys.stderr)
            return patch
        decision = tune_align(config, recording)
        print("align: each member less the others, rms (units of the signal)")
        print(*decision.lines(), sep="\n")
        patch |= decision.patch
    return patch


def _by_rules(config: Config, source: Path) -> dict[str, Any]:
    """Print the rule of thumb; return its patch."""
    if config.bridge is None:
        raise TuneError("the configuration has no bridge")
    gain = config.bridge.phase.gain
    found = by_thumb(source, gain)
    rows = [
        (name, f"{getattr(gain, name):g}", f"{getattr(found, name):g}")
        for name in ("kp", "ki", "kd")
    ]
    print(f"phase p95 {found.p95:.4f}, max {found.largest:.4f} cycles; sync {found.sync:.4f}")
    print(table(("gain", "in force", "rule of thumb"), rows))
    print(f"rate {found.delta_hz:+g} Hz: advice only, never applied")
    changed = {name: getattr(found, name) for name in ("kp", "ki", "kd")}
    if GainConfig(base_hz=gain.base_hz, **changed) == gain:
        print("nothing to change; the configuration stays")
        return {}
    if found.ki > found.kp**2:
        print(f"ki is beyond kp^2 ({found.kp**2:g}), which a configuration may not have; no patch")
        return {}
    if config.bridge.nonlinear_gain is not None:
        print("nonlinear_gain sets the gains; change its first points by hand; no patch")
        return {}
    return {"bridge": {"phase": {"gain": changed}}}


def _write(patch: dict[str, Any], out: Path | None) -> None:
    """Write a patch, or print it."""
    text = yaml.safe_dump(patch, sort_keys=False, default_flow_style=None)
    if out is None:
        print(f"\n{text}", end="")
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise TuneError(f"{out}: {error.strerror}") from error
    print(f"patch: {out}")
