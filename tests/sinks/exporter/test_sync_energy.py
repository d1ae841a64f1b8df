"""`fusion_lyapunov_v`: the larger of V and W, and no sample where V is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from operators.bridge.bridge_config import BridgeConfig, ReferenceConfig
from operators.records import INDICATORS
from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import MetricsPage
from sinks.exporter.sync_energy import sync_energy
from tests.support.bridge_frames import status
from tests.support.shown import config, packet, rig_of, ticks

NAN = math.nan


def board(phase: float, bound: float, bridge: BridgeConfig | None = None) -> LiveState:
    """Return a live state after one tick."""
    fused = ticks(1)
    indicators = fused.indicators.copy()
    indicators[:, INDICATORS.index("phase_diff")] = phase
    object.__setattr__(fused, "indicators", indicators)
    object.__setattr__(fused, "sync_estimate_bound_s", np.array([bound]))
    made = LiveState(replace(config(), bridge=bridge), ("r",))
    made.update([packet(fused)])
    return made


def sample(state: LiveState) -> str:
    lines = MetricsPage(state).text().decode().splitlines()
    return " ".join(line for line in lines if line.startswith("fusion_lyapunov_v"))


def test_it_is_v_of_the_estimate_bound() -> None:
    assert sample(board(0.03, 0.1)) == 'fusion_lyapunov_v{rig="r"} 1.0'


@pytest.mark.parametrize(("phase", "bound"), [(NAN, 0.1), (0.03, NAN)])
def test_it_is_absent_where_v_is_unknown(phase: float, bound: float) -> None:
    state = board(phase, bound, BridgeConfig(reference=ReferenceConfig(beat="a:b")))
    state.update([packet(bridge_status=status(1.0, loop_deviation=(0.1, 0.0, 0.0)))])
    assert sample(state) == ""


def test_the_larger_of_signal_and_loop_is_shown() -> None:
    state = board(0.03, 0.0, BridgeConfig(reference=ReferenceConfig(beat="a:b")))
    for phase, value in ((0.01, 0.5), (0.1, 1.0), (NAN, 0.5)):
        state.update([packet(bridge_status=status(1.0, loop_deviation=(phase, 0.0, 0.0)))])
        assert sync_energy(rig_of(state)) == pytest.approx(value)


def test_a_bridge_without_reference_has_no_loop() -> None:
    state = board(0.03, 0.0, BridgeConfig())
    state.update([packet(bridge_status=status(1.0, loop_deviation=(0.3, 0.0, 0.0)))])
    assert sync_energy(rig_of(state)) == pytest.approx(0.5)
