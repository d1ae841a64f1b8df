"""Checks of `bridge`: one form of reference, gains and limits that fit together, conditions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from configs.document import DataPath, Document
from configs.rulefiles import refuse_expression
from configs.schema import Config, RecordedStream
from configs.typed import did_you_mean, one_of
from operators.bridge.bridge_config import BridgeConfig, ReferenceConfig
from operators.bridge.gains import GainSchedule
from operators.bridge.loop_energy import stable
from operators.conditions import names
from operators.conditions.expression import ExpressionError, compile_expression
from operators.records import BRIDGE_NAMES

MAX_OFF = 0.01
"""Largest difference of `base_hz` and the rate of `tick_ms`."""


def check(document: Document, config: Config) -> None:
    """Report the contradictions of a bridge."""
    bridge = config.bridge
    if bridge is None:
        return
    if bridge.reference is not None:
        _reference(document, config, bridge.reference)
    _loop(document, bridge)
    _gains(document, bridge)
    _exporters(document, config, bridge)
    _state_file(document, config, bridge)
    # A condition over values of the bridge itself would be a circle.
    readable = tuple(name for name in names(config.plan()) if name not in BRIDGE_NAMES)
    for index, text in enumerate(bridge.safety.hard_stop_on):
        at: DataPath = ("bridge", "safety", "hard_stop_on", index)
        try:
            compile_expression(text, readable, logical=True)
        except ExpressionError as error:
            refuse_expression(document, at, text, error, "a condition over known names")


def _reference(document: Document, config: Config, reference: ReferenceConfig) -> None:
    at: DataPath = ("bridge", "reference")
    forms = [k for k in ("beat", "stamp", "rate", "signal") if getattr(reference, k) is not None]
    if forms == ["stamp"]:
        _fault(document, at, "a 'stamp' without 'rate'", "both")
    elif forms != ["stamp", "rate"] and len(forms) != 1:
        found = " and ".join(f"'{form}'" for form in forms) or "no form"
        _fault(
            document, at, f"{found} of a reference", "one of beat, stamp with rate, rate, signal"
        )
    if reference.signal is not None and reference.signal not in config.signals:
        place = (*at, "signal")
        shown, known = document.shown(place, reference.signal), list(config.signals)
        near = did_you_mean(document, shown, known)
        _fault(document, place, f"there is no signal '{shown}'{near}", one_of(known))
    recorded = any(isinstance(stream, RecordedStream) for stream in config.streams)
    streams = [stream.name for stream in config.streams]
    known = [document.shown(("streams", i, "name"), name) for i, name in enumerate(streams)]
    for form in forms:
        channel = getattr(reference, form)
        if form == "signal":
            continue
        place = (*at, form)
        source, _, key = document.shown(place, channel).partition(":")
        if not source or not key:
            _fault(document, place, f"the reference '{source}'", "<source>:<key>")
        elif not recorded and config.stream_of(channel.partition(":")[0]) not in streams:
            near = did_you_mean(document, source, known)
            _fault(document, place, f"'{source}' is no stream{near}", one_of(known))


def _loop(document: Document, bridge: BridgeConfig) -> None:
    loop, base_hz = bridge.loop, bridge.phase.gain.base_hz
    if not loop.min_tick_ms <= loop.tick_ms <= loop.max_tick_ms:
        limits = (
            f"it from min_tick_ms to max_tick_ms ({loop.min_tick_ms:g} to {loop.max_tick_ms:g})"
        )
        _fault(document, ("bridge", "loop", "tick_ms"), f"tick_ms is {loop.tick_ms:g}", limits)
    tick_hz = 1000 / loop.tick_ms
    if base_hz is not None and abs(base_hz - tick_hz) > MAX_OFF * tick_hz:
        _fault(
            document,
            ("bridge", "phase", "gain", "base_hz"),
            f"base_hz is {base_hz:g} beside tick_ms {loop.tick_ms:g}",
            f"{tick_hz:g}, or one of the two",
        )


def _gains(document: Document, bridge: BridgeConfig) -> None:
    gain, curves = bridge.phase.gain, bridge.nonlinear_gain
    at: DataPath = ("bridge", "phase", "gain")
    kp, ki = gain.kp, gain.ki
    if curves is not None:
        at = ("bridge", "nonlinear_gain")
        kp, ki = curves.kp_curve[0][1], curves.ki_base
        rising = True
        for name in ("kp_curve", "kd_curve"):
            x = [point[0] for point in getattr(curves, name)]
            if any(b <= a for a, b in pairwise(x)):
                rising = False
                _fault(document, (*at, name), f"the points of {name} do not rise", "rising ratios")
        both = (kp, ki, curves.kd_curve[0][1])
        if rising and (gain.kp, gain.ki, gain.kd) != both:
            shown = "kp {:g}, ki {:g}, kd {:g}".format(*both)
            _fault(
                document,
                ("bridge", "phase", "gain"),
                "a gain that is not the first point of nonlinear_gain",
                shown,
            )
    if ki > kp**2:
        _fault(
            document,
            at,
            f"ki {ki:g} beside kp {kp:g} makes the loop swing (a damping below 0.5)",
            f"ki at most kp^2 ({kp**2:g})",
        )
    elif bridge.reference is not None:
        _stability(document, at, bridge)


def _stability(document: Document, at: DataPath, bridge: BridgeConfig) -> None:
    """Refuse gains without a Lyapunov function, at any point of the curves."""
    curves = bridge.nonlinear_gain
    points = [*curves.kp_curve, *curves.kd_curve] if curves else [(0.0, 0.0)]
    schedule = GainSchedule(bridge.phase, curves)
    for gains in (schedule.at(entropy) for entropy in sorted({x for x, _ in points})):
        if not stable(gains):
            shown = "kp {:g}, ki {:g}, kd {:g}".format(*gains)
            _fault(
                document, at, f"the nominal loop is not stable at {shown}", "smaller gains above 0"
            )
            return


def _exporters(document: Document, config: Config, bridge: BridgeConfig) -> None:
    own, shared = bridge.exporter, config.exporter
    if own is not None and shared is not None and own.http_port == shared.http_port:
        at = ("bridge", "exporter", "http_port")
        _fault(document, at, f"the port {own.http_port} is that of the exporter", "another port")


def _state_file(document: Document, config: Config, bridge: BridgeConfig) -> None:
    if bridge.state_file is None:
        return
    at, path = ("bridge", "state_file"), Path(bridge.state_file)
    shown = document.shown(at, bridge.state_file)
    folders = [config.output.dir, *([config.tap.dir] if config.tap else [])]
    if any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders):
        _fault(document, at, f"{shown} is in a folder of the run", "a place outside of it")
    elif path.is_dir():
        _fault(document, at, f"{shown} is a folder", "a file")


def _fault(document: Document, at: DataPath, message: str, expected: str) -> None:
    document.fault(document.place(at), f"{message}, expected {expected}")
