"""A board with the longest of everything: names, numbers, losses, and a channel that flaps."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from configs.inputs import OscStream, UreStream
from configs.outputs import ExporterConfig
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.records import FusedSignal
from operators.settings.channels import ChannelConfig
from ops.fakes.ports import free_port
from sinks.exporter.live_state import LiveState
from sinks.exporter.server import Server
from tests.support.shown import events, packet, report, ticks

SIGNAL = "respiration_and_heart_motion"
NAMES = (
    "living-room-phone@192.168.178.101:/gyrosc/accelerometer/x[0]",
    "wrist_sensor_left:/data/imu_calibrated/linear_acceleration_norm",
    "ure:ure_residual_entropy_last{kind=a,model=b}",
    "Shimmer_GSR-A3F7:PPG_A13_CAL",
)
SECONDS, FLAPS = 60, 10
_ENDS = ("used", "late", "duplicate", "outliers", "rejected", "dropped")
_WIDE = {
    "offset_s": -1700000757.26136, "offset_sd_s": 0.00021, "skew_ppm": -1234.5,
    "skew_sd_ppm": 12.3, "lag_s": -1.2345, "lag_sd_s": 0.012, "rate_hz": 12345.6,
    "jitter_p95_s": 0.0123, "late": 12345, "duplicate": 1234, "outliers": 12345,
    "rejected": 12345,
}  # fmt: skip


class Crowd:
    """Served from `__init__` to `close`; `began` is the run's first tick (s, host time)."""

    def __init__(self) -> None:
        names = ("living-room-phone", "wrist_sensor_left", "Shimmer_GSR-A3F7")
        streams = [
            OscStream(name=name, addr=f"127.0.0.1:{9000 + i}", per_sender=not i)
            for i, name in enumerate(names)
        ]
        members = {c: MemberConfig(group="ure" if c[0] == "u" else "sensors") for c in NAMES}
        config = Config(
            version=2, rig="r", signals={SIGNAL: SignalConfig(members=members)},
            streams=[*streams, UreStream(name="ure", metrics_url="http://127.0.0.1:9305/")],
            channels={"*": ChannelConfig(unit="µV RMS")},
        )  # fmt: skip
        board = LiveState(config)
        self.began = float(int(time.time()) - SECONDS)
        end = self.began + SECONDS
        sync = tuple(report(c, ts=self.began + i, **_WIDE) for i, c in enumerate(NAMES))
        ends = tuple(
            x for c in NAMES for end_ in _ENDS for x in events(c.partition(":")[0], 12345, end_, c)
        )
        board.update([packet(_ticks(int(self.began)), sync=sync, ends=ends)])
        for k in range(2 * FLAPS):
            state = "live" if k % 2 else "stale"
            line = report(NAMES[0], ts=end - FLAPS + k / 2, why="state", **_WIDE, state=state)
            board.update([packet(sync=(line,))])
        port = free_port()
        self._server = Server(ExporterConfig(http_port=port), board, str)
        self._server.start()
        self.address = f"http://127.0.0.1:{port}/"

    def close(self) -> None:
        """Close the port."""
        self._server.stop()


def _ticks(first: int) -> object:
    fused = ticks(first, SECONDS, phase_diff=0.01, coherence=0.95, sync_quality=0.95)
    one = np.ones(SECONDS)
    signal = FusedSignal(
        SIGNAL, NAMES, 12345.678 + np.sin(fused.ts), 0.0234 * one, 0.01 * one, one.astype(int) - 1,
        4 * one.astype(int), np.tile([0.4, 0.3, 0.2, 0.1], (SECONDS, 1)),
        12345.6 + np.sin(fused.ts)[:, None] + np.zeros(4),
    )  # fmt: skip
    return replace(fused, signals=(signal,))
