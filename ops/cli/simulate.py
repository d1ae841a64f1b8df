"""`lumen simulate`: a seeded recording with known truth, or the devices of a run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ops.cli.bounded_number import bounded_number
from ops.simulate.beats import PROFILES, BeatScenario, TempoChange
from ops.simulate.recording import make
from ops.simulate.scenario import band, studio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen simulate`."""
    parser.add_argument("--seed", type=_seed, default=1, help="default %(default)s")
    parser.add_argument("--seconds", type=_seconds, help="default 180; with --live until Ctrl-C")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("studio.ndjson.gz"),
        metavar="PATH",
        help="a .ndjson or .ndjson.gz file; default %(default)s",
    )
    parser.add_argument(
        "--live",
        nargs="?",
        const="configs/stage.yaml",
        metavar="CONFIG",
        help="play the devices of a configuration instead, by default %(const)s",
    )
    beats = parser.add_argument_group("beats of the bridge's reference")
    beats.add_argument(
        "--beats",
        choices=PROFILES,
        help="record beats beside two instruments; with --live, steady by default",
    )
    beats.add_argument(
        "--channel", type=_channel, help="default osc_1:/beat; midi_1:clock for MIDI"
    )
    beats.add_argument("--beat-hz", type=_rate, metavar="HZ", help="first rate; default 5 Hz")
    beats.add_argument(
        "--tempo",
        type=_tempo,
        action="append",
        metavar="AT:HZ[:OVER]",
        help="a change of the rate, at once or within OVER seconds",
    )
    beats.add_argument("--gap", type=_gap, action="append", metavar="FROM:TO", help="no beats (s)")
    for name, unit, text in (
        ("wander", "SHARE", "change of the rate, sd in a second"),
        ("jitter", "SECONDS", "sd of the time of a beat"),
        ("loss", "SHARE", "beats lost"),
        ("doubles", "SHARE", "beats sent twice"),
        ("wild", "SHARE", "beats 80 ms early or late"),
    ):
        beats.add_argument(f"--{name}", type=_amount, metavar=unit, help=text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    return bounded_number(text, 1, 86_400, "a number of seconds, 1 to a day")


def _amount(text: str) -> float:
    return bounded_number(text, 0, 1, "a number, 0 to 1")


def _rate(text: str) -> float:
    return bounded_number(text, 0.01, 1000, "a rate, 0.01 to 1000 Hz")


def _channel(text: str) -> str:
    if not all(text.partition(":")):
        raise argparse.ArgumentTypeError(f"{text!r} is not <source>:<key>")
    return text


def _tempo(text: str) -> TempoChange:
    at, *rest = text.split(":")
    if len(rest) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is not AT:HZ or AT:HZ:OVER")
    over = [
        bounded_number(x, 0, 86_400, "a number of seconds, 0 to a day") for x in (at, *rest[1:])
    ]
    return TempoChange(over[0], _rate(rest[0]), *over[1:])


def _gap(text: str) -> tuple[float, float]:
    begin, _, end = text.partition(":")
    first, last = (bounded_number(x, 0, 86_400, "FROM:TO in seconds") for x in (begin, end))
    if first >= last:
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM:TO in seconds")
    return first, last


def beats_of(args: argparse.Namespace, rate_hz: float = 5.0) -> BeatScenario | None:
    """Return the beats of the arguments, at `rate_hz` by default; None where none ask for any."""
    given = {
        "channel": args.channel,
        "changes": tuple(sorted(args.tempo, key=lambda c: c.at_s)) if args.tempo else None,
        "gaps": tuple(args.gap) if args.gap else None,
        "wander": args.wander,
        "jitter_s": args.jitter,
        "loss": args.loss,
        "doubles": args.doubles,
        "wild": args.wild,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if args.beats is None and args.beat_hz is None and not given:
        return None
    beats = PROFILES[args.beats or "steady"](args.seconds or 180.0)
    return replace(beats.at_rate(args.beat_hz or rate_hz), **given)


def main(args: argparse.Namespace) -> int:
    """Write a recording and its truth, or play devices."""
    if args.live:
        from configs.load import load
        from ops.simulate.live import expected_hz, play_until_stopped

        config = load(args.live).config
        beats = beats_of(args, expected_hz(config))
        return play_until_stopped(config, args.seconds, args.seed, beats)
    beats = beats_of(args)
    seconds = args.seconds or 180.0
    scenario = studio(seconds) if beats is None else band(beats, seconds)
    truth = make(scenario, args.seed).write(args.out)
    print(f"{args.out}  {args.out.stat().st_size / 1000:.0f} kB\n{truth}")
    return 0
