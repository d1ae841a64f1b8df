"""A constant delay of a source's path: in the lag without two-way readings, not with them."""

from __future__ import annotations

import numpy as np
import pytest

from flows.pipeline import Pipeline
from operators import Plan
from tests.support.signals import movement
from tests.support.two_way_paths import TwoWayPath, batch

MOVES = movement(5)


def last_lag(readings: bool) -> tuple[float, float]:
    """Return the lag (s) and the sd of the offset (s) of a phone at 40 ms beside a wired sensor."""
    read = ((0.0, 1e9),) if readings else ()
    wired = TwoWayPath(source="wired", out_s=0.0, back_s=0.0, queue_s=1e-4, read=(), value=MOVES)
    phone = TwoWayPath(out_s=0.040, back_s=0.040, read=read, value=MOVES)
    plan = Plan.of(pulse=["wired:/pulse", "phone:/pulse"], tick_hz=20.0)
    packets = list(Pipeline(plan).run([batch(wired, phone, seconds=150.0)]))
    last = {s.channel: s for p in packets for s in p.sync if s.lag_s is not None}
    wired_lag, phone_lag = (last[f"{name}:/pulse"].lag_s for name in ("wired", "phone"))
    sd = last["phone:/pulse"].offset_sd_s
    assert wired_lag is not None
    assert phone_lag is not None
    assert sd is not None
    return phone_lag - wired_lag, sd


def test_a_delay_of_40_ms_is_a_lag_without_readings_and_none_with_them() -> None:
    lag, sd = last_lag(readings=False)
    assert lag == pytest.approx(0.040, abs=0.006)
    assert sd < 0.001
    lag, sd = last_lag(readings=True)
    assert abs(lag) < 0.006
    assert sd == pytest.approx(0.040 / np.sqrt(3), rel=0.1)
