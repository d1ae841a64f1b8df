"""The state of a bridge as lines, for `lumen bridge status` and `lumen watch`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from operators.bridge.protocol_text import NAMES
from ops.cli.state_client import BridgeView
from ops.text.numbers import known, plain


def bridge_lines(name: str, bridge: BridgeView) -> Iterator[str]:
    """Yield the state, the clock, the figures by which it is judged, and the unmet conditions."""
    yield f"{name}: {named(bridge.state)}{since(bridge.since, bridge.at)}"
    if bridge.tick_s and bridge.lock != "none":
        yield f"  clock: {1 / bridge.tick_s:.2f} Hz, {bridge.lock}{_error(bridge)}"
    sync, phase = plain(bridge.sync_quality), plain(bridge.phase_diff, 2)
    yield (
        f"  judged: sync quality {sync}, phase {phase} cycles, entropy ratio"
        f" {plain(bridge.entropy_ratio, 2)}; safety gain {plain(bridge.safety_gain, 2)}"
    )
    yield from (f"  {sentence}" for sentence in bridge.unmet)
    if not bridge.unmet:
        yield f"  nothing is unmet; {bridge.state} stays"


def named(state: str) -> str:
    """Return a state with its name."""
    return f"{state} {NAMES[state]}" if state in NAMES else state


def since(begin: float | None, now: float | None) -> str:
    """Return the host time since which a state is in force, and its duration."""
    if begin is None or now is None:
        return ""
    when = datetime.datetime.fromtimestamp(begin).strftime("%Y-%m-%d %H:%M:%S")
    return f" since {when}, for {max(now - begin, 0.0):.0f} s"


def _error(bridge: BridgeView) -> str:
    error, tick_s = bridge.phase_error, bridge.tick_s
    if error is None or tick_s is None or not known(error):
        return ""
    return f"; phase error {plain(error, 2)} cycles ({error * tick_s * 1000:+.1f} ms)"
