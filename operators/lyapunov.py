"""V, the energy of the sync error of one rig at one tick.

    V = 1/2 [ (phase_diff / phi)^2 + (sync_bound_s / b)^2 ]

with the critical budgets phi and b: V = 1 where both are critical. It is no Lyapunov function:
without a controller nothing has to make it fall. That of the beat clock's loop is W of
operators/bridge/loop_energy.py.
"""

from __future__ import annotations

CRITICAL_CYCLES = 0.03
"""Critical phase difference (cycles)."""
CRITICAL_BOUND_S = 0.1
"""Critical bound of the time error (s)."""


def lyapunov_v(phase_diff: float | None, sync_bound_s: float | None) -> float | None:
    """Return V (dimensionless).

    Parameters
    ----------
    phase_diff : float or None
        Phase difference of the members (cycles), 0 to 0.5; NaN or None where unknown.
    sync_bound_s : float or None
        Bound of the time error (s); NaN or None where unknown.

    Returns
    -------
    float or None
        NaN where a value is NaN, else None where one is None.
    """
    if phase_diff is None or sync_bound_s is None:
        return None
    phase, bound = phase_diff / CRITICAL_CYCLES, sync_bound_s / CRITICAL_BOUND_S
    return (phase * phase + bound * bound) / 2
