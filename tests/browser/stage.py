"""A stage for the live page: a live state that is updated with a show, served as in a run.

Three channels measure one movement, 100 ticks a second. Directions (`become`, `step`, ...) hold
from the next tick on.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from configs.inputs import FileStream, OscStream, UreStream
from configs.outputs import ExporterConfig
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.lines import EvidenceRecord, SyncReport
from operators.records import INDICATORS, Ends, Fused, FusedSignal, Packet
from operators.resample import ResampleConfig
from operators.settings.channels import ChannelConfig
from operators.types import MODES
from ops.fakes.ports import free_port
from sinks.exporter.live_state import LiveState
from sinks.exporter.server import Server
from tests.support.bridge_frames import status

HZ = 100
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
CHANNELS = ("ure:ure_pulse", "phone_1:/accxyz", "phone_2:/accxyz")
GOOD = {
    "phase_diff": 0.011, "coherence": 0.958, "harmony": 0.912, "sync_quality": 0.934,
    "entropy_ratio": 0.094,
}  # fmt: skip
_PRIOR = np.array([0.42, 0.33, 0.25])
_OFFSET = {"phone_1": -757.264, "phone_2": 3040.991}
_SKEW = {"phone_1": 41.7, "phone_2": -12.4}
_RATE = {"ure": 10.0, "phone_1": 99.96, "phone_2": 100.01}
_LAG = {"ure": 0.0, "phone_1": 0.0, "phone_2": 0.0123}


class Stage:
    """The show, from `open` to `close`.

    Parameters
    ----------
    port : int
        Of a stage that was closed, to be seen where it was; a free one by default.
    live : bool
        The streams are live, or else a recording's.
    before_s : int
        Time of the show before the page is opened (s).
    rigs : tuple of str
        All of them; `stage` is the one that plays.
    """

    def __init__(
        self, port: int = 0, *, live: bool = True, before_s: int = 60, rigs: Any = ()
    ) -> None:
        self.port = port or free_port()
        streams: list[Any] = [FileStream(name="demo", path="demo.ndjson")]
        if live:
            streams = [
                UreStream(name="ure", metrics_url="http://127.0.0.1:9305/"),
                OscStream(name="phone_1", addr="127.0.0.1:9000"),
                OscStream(name="phone_2", addr="127.0.0.1:9001"),
            ]
        members = {c: MemberConfig(group="ure" if c[0] == "u" else "sensors") for c in CHANNELS}
        config = Config(
            version=2, streams=streams, signals={"motion": SignalConfig(members=members)},
            rig="stage", resample=ResampleConfig(target_hz=HZ),
            channels={"*:/accxyz": ChannelConfig(unit="m/s²")},
        )  # fmt: skip
        self.board = LiveState(config, rigs)
        self.states = dict.fromkeys(CHANNELS, "live")
        self._loose: set[str] = set()
        self.steps = dict.fromkeys(_OFFSET, 0.0)
        self.resets = dict.fromkeys(_OFFSET, 0)
        self.reset_at: dict[str, float] = {}
        self._before_s = before_s
        self.indicators = dict(GOOD)
        self.compared = True
        self._rng = np.random.default_rng(4)
        self._counts = dict.fromkeys(CHANNELS, 0)
        self._sent = int(time.time() * HZ) - before_s * HZ
        self._began = self._sent
        self._due: list[Any] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = Server(ExporterConfig(http_port=self.port), self.board, str)
        self._thread = threading.Thread(target=self._play, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def open(self, *, play: bool = True) -> Stage:
        for _ in range(self._before_s):
            self._send(HZ)
        self._server.start()
        if not play:
            self._over.set()
        self._thread.start()
        return self

    def close(self) -> None:
        """Close the port; once more is nothing."""
        self.freeze()
        self._server.stop()

    def freeze(self) -> None:
        """The flow hangs, and is still there."""
        self._over.set()
        self._thread.join()

    def become(self, channel: str, state: str) -> None:
        """A channel is stale, live, and so on."""
        with self._lock:
            self.states[channel] = state
            self._due.append(self._report(channel, "state"))

    def loosen(self, channel: str) -> None:
        """A channel's lag is given without an sd, and nothing is compared any more."""
        with self._lock:
            self.compared = False
            self._loose.add(channel)
            self._due.append(self._report(channel, "state"))

    def step(self, source: str, by_s: float) -> None:
        """A clock steps; its channels are acquired anew."""
        with self._lock:
            self.steps[source] += by_s
            self.resets[source] += 1
            self.reset_at[source] = self._now
            for channel in CHANNELS:
                if channel.startswith(source):
                    self.states[channel] = "acquiring"
                    self._due.append(self._report(channel, "reset"))

    def find(self, rule: str, state: Any = "firing") -> None:
        """A rule begins to hold, or ceases to."""
        record = EvidenceRecord(
            ts=self._now, rig="stage", rule=rule, kind="risk", state=state, severity="warn",
            risk="the streams drift apart", action=None, quote=None, facts={}, since=self._now,
        )  # fmt: skip
        self.board.update([Packet("stage", self._now, False, np.zeros(1), evidence=(record,))])

    def clock(self, **given: Any) -> None:
        """The beat clock runs; `given` are fields of its status."""
        known = status(self._now, **{"since": self._now - 60.0, **given})
        self.board.update([Packet("stage", self._now, False, np.zeros(1), bridge_status=known)])

    @property
    def _now(self) -> float:
        return self._sent / HZ

    def _play(self) -> None:
        while not self._over.wait(0.05):
            due = int(time.time() * HZ) - self._sent
            if due > 0:
                self._send(due)

    def _send(self, k: int) -> None:
        with self._lock:
            sync, self._due = self._due, []
            if self._sent == self._began or self._sent // (2 * HZ) != (self._sent + k) // (2 * HZ):
                sync += [self._report(channel, "hop") for channel in CHANNELS]
            ends = []
            for channel, state in self.states.items():
                source = channel.partition(":")[0]
                n = max(1, round(k * _RATE[source] / HZ))
                if state not in ("stale", "lost"):
                    self._counts[channel] += n
                    before = np.full(n, self._now)
                    ends += [Ends(source, channel, "received", before),
                             Ends(source, channel, "used", before)]  # fmt: skip
            fused = self._fused(k)
        packet = Packet("stage", self._now, False, np.zeros(1), fused=fused, sync=tuple(sync),
                        ends=tuple(ends))  # fmt: skip
        self.board.update([packet])

    def _fused(self, k: int) -> Fused:
        ts = (self._sent + np.arange(k)) / HZ
        self._sent += k
        here = np.array([state == "live" for state in self.states.values()])
        weights = _PRIOR * here
        weights = weights / max(weights.sum(), 1e-9)
        clean = (np.sin(ts * 1.7) + 0.55 * np.sin(ts * 0.61 + 1) + 0.3 * np.sin(ts * 4.3)) / 2 + 2
        present = [s not in ("stale", "lost") for s in self.states.values()]
        noise = self._rng.standard_normal((k, 3)) * [0.02, 0.09, 0.12]
        aligned = np.where(present, clean[:, None] + noise + [0.02, -0.015, 0.01], np.nan)
        value = (np.nan_to_num(aligned) * weights).sum(1)
        value[~here.any()] = np.nan
        ure, sensors = here[0], here[1:].any()
        mode = "fused" if ure and sensors else "ure_only" if ure else "sensors_only"
        mode = mode if here.any() else "none"
        modes, live = np.full(k, MODES.index(mode)), np.full(k, here.sum())
        sd = np.full(k, 0.05 + 0.06 * (~here).sum())
        signal = FusedSignal("motion", CHANNELS, value, sd, sd * 0.5, modes, live,
                             np.tile(weights, (k, 1)), aligned)  # fmt: skip
        indicators = np.tile([self.indicators[name] for name in INDICATORS], (k, 1))
        indicators[:] = np.where(here.sum() < 2, np.nan, indicators)
        bound = np.full(
            k, np.nan if here.sum() < 2 or not self.compared else 0.0031 if here.all() else 0.0012
        )
        return Fused(ts, ts + 0.03, modes, live, (signal,), indicators, indicators,
                     indicators * np.nan, np.empty((k, 0)), (), bound, bound)  # fmt: skip

    def _report(self, channel: str, why: Any) -> SyncReport:
        source = channel.partition(":")[0]
        own, wander = source in _OFFSET, self._rng.standard_normal(3).tolist()
        age, state = (self._sent - self._began) / HZ, self.states[channel]
        offset = _OFFSET[source] + _SKEW[source] * 1e-6 * age - self.steps[source] if own else None
        used = self._counts[channel]
        return SyncReport(
            ts=self._now, rig="stage", channel=channel, why=why, state=state,  # type: ignore[arg-type]
            offset_s=offset, offset_sd_s=0.00021 if own else None,
            skew_ppm=_SKEW[source] + 0.05 * wander[0] if own else None,
            skew_sd_ppm=0.35 if own else None, clock_resets=self.resets.get(source, 0),
            reset_at=self.reset_at.get(source), lag_s=_LAG[source] + 2e-4 * wander[1],
            lag_sd_s=None if channel in self._loose else 0.0011 if own else 0.0,
            confidence=0.97 if state == "live" else 0.31,
            rate_hz=_RATE[source] * (1 + 3e-4 * wander[2]),
            jitter_p95_s=0.0042 if own else None, received=used, used=used, outliers=0,
            late=0, duplicate=0, rejected=0, gaps=0,
        )  # fmt: skip
