"""V of the newest tick of a rig: the larger of the fused signal's and of the beat clock's loop.

V of the fused signal is read from the phase difference and the bound of the sync estimates. It is
unknown, and has no sample, where either is, whatever the loop of the beat clock does.
"""

from __future__ import annotations

from math import isfinite, nan

from operators.bridge.gains_in_force import Gains
from operators.bridge.loop_energy import LoopDeviation, limits, loop_energy
from operators.lyapunov import lyapunov_v
from operators.records import INDICATORS
from sinks.exporter.rig_state import RigState

_PHASE = INDICATORS.index("phase_diff")


def sync_energy(panel: RigState) -> float:
    """Return V (dimensionless), NaN while unknown."""
    fused = panel.fused
    if fused is None:
        return nan
    bound = float(fused.sync_estimate_bound_s[-1])
    v = lyapunov_v(float(fused.indicators[-1, _PHASE]), bound)
    if v is None or not isfinite(v):
        return nan
    w = _loop_energy(panel)
    return w if w > v else v


def _loop_energy(panel: RigState) -> float:
    """Return W of the beat clock's loop, NaN without a lock."""
    status, loop = panel.bridge, panel.loop
    if status is None or loop is None:
        return nan
    gains = Gains(status.kp, status.ki, status.kd)
    return loop_energy(LoopDeviation(*status.loop_deviation), gains, limits(loop))
