"""`lumen check`: validity of a configuration, and the latency and members of its run.

`--upgrade` converts a configuration of version 1 instead.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from configs.address import is_loopback
from configs.connectors.kafka_out import KafkaDestination
from configs.document import ConfigError, text_of
from configs.inert import inert
from configs.load import Loaded, load
from configs.outputs import MidiDestination, OscDestination
from configs.reach import unwanted
from configs.schema import Config
from configs.thresholds import THRESHOLDS
from configs.upgrade import upgrade
from operators.bridge.trend import RATIO_S
from operators.settings.plan import Plan, Signal
from ops.cli.recorded import described
from sinks.exporter.hosts import GUARD, NETWORKS, OPEN

TWO_PASSES = "hindsight: two passes, estimates of the whole recording from the first tick on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen check`."""
    parser.add_argument("config", metavar="CONFIG", help="a configuration file")
    parser.add_argument(
        "--upgrade", action="store_true", help="write the file of an old version as version 2"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="path of the upgraded file; default standard output; never overwrites",
    )


def main(args: argparse.Namespace) -> int:
    """Check or upgrade; return 0 for a valid configuration, else 2."""
    if args.upgrade:
        return _upgrade(args.config, args.output)
    if args.output is not None:
        print("lumen check: -o needs --upgrade", file=sys.stderr)
        return 2
    loaded = load(args.config)
    forms = described(loaded.config)
    print(*describe(loaded), *forms, sep="\n")
    return 0


def describe(loaded: Loaded) -> list[str]:
    """Return the properties of a run that are known before its start, a line each."""
    config, plan = loaded.config, loaded.config.plan()
    parts = [
        _count(len(config.streams), "stream"),
        _count(len(plan.signals), "signal"),
        _count(len(plan.members), "member"),
        _count(len(plan.facts), "fact"),
        _count(len(loaded.rules), "rule"),
    ]
    lines = [f"OK        {loaded.path}: rig {plan.rig}, {', '.join(parts)}", *_latency(loaded)]
    if config.mode == "hindsight":
        lines.append(f"mode      {TWO_PASSES}")
    for signal in plan.signals:
        lines += _signal(plan, signal)
    lines += [f"topic     {inert(line)}" for line in _topics(config)]
    lines += _bridge(config)
    exporter = config.exporter
    if exporter and not is_loopback(exporter.host) and not exporter.guarded:
        lines.append(f"exporter  {exporter.host}:{exporter.http_port} {OPEN}; {GUARD}")
    found = config.discovery
    if found and found.oscquery_port and not is_loopback(found.host) and not found.allow:
        lines.append(f"oscquery  {found.host}:{found.oscquery_port} {OPEN}; {NETWORKS}")
    for channel in unwanted(config):
        source, _, key = channel.partition(":")
        lines.append(
            f"never     {channel}: the keys of stream {source} leave it out; add {key} to them"
        )
    return lines


def _latency(loaded: Loaded) -> list[str]:
    plan, align = loaded.config.plan(), loaded.config.align
    base = plan.half_width_s + plan.wait_s
    lines = [
        f"latency   {_duration(base, plan)}: kernel {plan.half_width_s:g} s,"
        f" wait {plan.wait_s:g} s; plus the largest lag of the members present"
    ]
    given = [m.lag_s for m in plan.members if m.lag_s is not None]
    if given:
        least = base + min(max(0.0, *given), plan.wait_lag_s)
        lines.append(f"          with the lags given: {_duration(least, plan)}")
    searched = any(
        m.lag_s is None and m.channel != s.reference for s in plan.signals for m in s.members
    )
    if plan.wait_lag_s == 0:
        lines[0] = lines[0].partition("; plus the largest")[0]
        lines[1:] = [
            "          no lag is waited for: a channel with a lag above 0 s gets no weight"
        ]
    elif searched:
        lag = min(max([align.max_lag_s, *given]), plan.wait_lag_s)
        lines.append(
            f"          with a lag of {lag:g} s, the largest waited for:"
            f" {_duration(base + lag, plan)}"
        )
    return lines


def _signal(plan: Plan, signal: Signal) -> list[str]:
    groups = [member.group for member in signal.members]
    prior = {"ure": plan.weights.ure, "sensors": plan.weights.sensors}
    total = sum(prior[group] for group in set(groups))
    width = max(len(member.channel) for member in signal.members)
    lines = [f"signal    {signal.name}, reference {signal.reference}, scale {signal.scale}"]
    for member in signal.members:
        share = prior[member.group] / total / groups.count(member.group)
        lag = "lag searched"
        if member.lag_s is not None:
            sure = _sd(member.lag_sd_s)
            if member.channel == signal.reference:
                sure = "the reference"
            lag = f"lag {member.lag_s:g} s given, {sure}"
        elif member.channel == signal.reference:
            lag = "the reference"
        kind = ", held" if plan.is_held(member.channel) else ""
        if plan.channel(member.channel).learnt:
            kind += ", unit learnt: no vote on the scale"
        if member.sd:
            kind += f", systematic sd {member.sd:g}"
        if unit := plan.channel(member.channel).unit:
            kind += f", in {unit}"
        line = f"  {member.channel:{width}}  {member.group:7}  prior {share:.3f}  {lag}{kind}"
        lines.append(line)
    units = {m.channel: plan.channel(m.channel) for m in signal.members}
    fixed = {c: x.unit for c, x in units.items() if x.unit and x.gain != "auto"}
    if len(set(fixed.values())) > 1:
        named = ", ".join(f"{channel} in {unit}" for channel, unit in fixed.items())
        lines.append(f"  unlike units: {named}; set gain: auto for those to be converted")
    voters = {m.origin for m in signal.members if not plan.channel(m.channel).learnt}
    if len(signal.members) > 1 and len(voters) == 1:
        lines.append(
            f"  one origin votes on the scale ({voters.pop()}): an error shared by its members"
            " cannot be detected, and systematic_sd is null unless sd is given"
        )
    sensors = groups.count("sensors")
    if 0 < sensors < plan.failover.min_streams and "ure" in groups:
        wanted = plan.failover.min_streams
        lines.append(
            f"  never fused: failover.min_streams is {wanted}, group sensors has {sensors}"
        )
    return lines


def _topics(config: Config) -> list[str]:
    """Return the topics that are read and written, with their brokers, none of which is asked."""
    lines = []
    if (read := config.topic) is not None:
        where = ", ".join(read.brokers)
        lines.append(
            f"{read.topic} is read by {read.name}, partitions {read.partitions}, at {where}"
        )
    if config.tap is not None and (tape := config.tap.kafka) is not None:
        where = ", ".join(tape.brokers)
        lines.append(f"{tape.topic} has the tape of `lumen record --to kafka`, at {where}")
    for each in config.send:
        if isinstance(each, KafkaDestination):
            files, where = " and ".join(each.stems), ", ".join(each.brokers)
            lines.append(f"{each.topic} has {files} of {each.name}, at {where}")
    return lines


def _bridge(config: Config) -> list[str]:
    """Return reference, clocks, the silence that leads to E4, and thresholds that no alert has."""
    bridge = config.bridge
    if bridge is None:
        return []
    lines = ["bridge    no reference: states and safety alone"]
    if reference := bridge.reference:
        names = (reference.beat, reference.stamp, reference.rate, reference.signal)
        beats = " and ".join(name for name in names if name)
        played = (x for x in config.send if isinstance(x, OscDestination | MidiDestination))
        clocks = ", ".join(x.name for x in played if x.clock is not None) or "no clock"
        lines = [
            f"bridge    follows {beats}, {reference.per_tick:g} a tick; ticks of"
            f" {bridge.loop.tick_ms:g} ms to {clocks}, decided {config.lead_s():g} s ahead"
        ]
    silence_s = bridge.safety.rollback_ratio_5m_max * RATIO_S
    lines.append(
        f"          more than {silence_s:g} s of silence or at a limit within {RATIO_S:g} s of play"
        " lead to E4, which `lumen bridge release` ends"
    )
    burn = bridge.burn_rate_thresholds
    phase, entropy = THRESHOLDS["bridge_phase"], THRESHOLDS["bridge_entropy"]
    lines += [
        f"          burn_rate_thresholds.{name} {mine:g}: the Prometheus alerts keep {shipped:g}"
        for name, mine, shipped in (
            ("phase.fast", burn.phase.fast, phase.crit),
            ("phase.slow", burn.phase.slow, phase.warn),
            ("entropy.warn", burn.entropy.warn, entropy.warn),
            ("entropy.crit", burn.entropy.crit, entropy.crit),
        )
        if mine != shipped
    ]
    return lines


def _sd(sd: float | None) -> str:
    if sd is None:
        return "sd not given: not compared, no bound (set lag_sd_s)"
    return f"sd {sd:g} s"


def _upgrade(path: str, output: Path | None) -> int:
    try:
        text = upgrade(text_of(path), path)
    except ConfigError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        return 2
    if output is None:
        print(text, end="")
        return 0
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"lumen check: {output}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"OK        {path} is upgraded: {output}")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float, plan: Plan) -> str:
    return f"{seconds:g} s = {seconds * plan.tick_hz:.4g} ticks of {1 / plan.tick_hz:g} s"
