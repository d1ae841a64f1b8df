"""Configuration of `bridge`: the reference, the loop, its gains, and when it may play."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from operators.settings.config_part import ConfigPart, Positive, Rest

Gain = Annotated[float, Meta(ge=0, le=100)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[float, Meta(gt=0, le=60_000)]
Curve = Annotated[list[tuple[Ratio, Gain]], Meta(min_length=2, max_length=64)]
"""Points (entropy ratio, gain), rising in the entropy ratio."""
CONTROL_S = 0.05
"""Interval of control steps (s)."""
HOST_TICK_S = 0.1
"""Longest wait for a host tick (s)."""
MARGIN_S = 0.05
"""Time between the decision of a tick and its sending (s)."""


class ReferenceConfig(ConfigPart, frozen=True, kw_only=True):
    """The beats that the clock follows: one of `beat`, `stamp` (with `rate`), `rate`, `signal`."""

    beat: Annotated[
        str | None,
        Meta(
            description="Channel of which each event is a beat, whatever its value; the end of a"
            " MIDI note is none.",
            examples=["midi_1:clock"],
        ),
    ] = None
    stamp: Annotated[
        str | None,
        Meta(
            description="Gauge of the time of the newest beat (s, Unix); needs `rate` too.",
            examples=["ure:ure_last_tick_timestamp_seconds"],
        ),
    ] = None
    rate: Annotated[
        str | None,
        Meta(
            description="Gauge of the rate of beats in Hz, or their counter (`..._total`).",
            examples=["ure:ure_ticks_total"],
        ),
    ] = None
    signal: Annotated[
        str | None,
        Meta(
            description="Fused signal whose rises through its mean of 30 s are beats.",
            examples=["pulse"],
        ),
    ] = None
    per_tick: Annotated[
        float,
        Meta(
            ge=1 / 64,
            le=4096,
            description="Beats of one tick; 0.25 makes four ticks of a beat.",
            examples=[6],
        ),
    ] = 1.0

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that it reads, a MIDI transport beside its clock included."""
        if self.beat is None:
            return tuple(c for c in (self.stamp, self.rate) if c is not None)
        source, _, key = self.beat.partition(":")
        return (self.beat, f"{source}:transport") if key == "clock" else (self.beat,)


class LoopConfig(ConfigPart, frozen=True, kw_only=True):
    """The output clock."""

    tick_ms: Annotated[
        Milliseconds, Meta(description="Free-running interval of ticks.", examples=[200])
    ] = 200.0
    min_tick_ms: Annotated[
        Milliseconds, Meta(description="Shortest interval of ticks.", examples=[120])
    ] = 120.0
    max_tick_ms: Annotated[
        Milliseconds, Meta(description="Longest interval of ticks.", examples=[400])
    ] = 400.0
    slew: Annotated[
        float,
        Meta(
            ge=0.01,
            le=0.5,
            description="Largest correction of the rate, as a part of the rate.",
            examples=[0.1],
        ),
    ] = 0.1
    lead_ms: Annotated[
        Literal["auto"] | Annotated[float, Meta(ge=50, le=10_000)],
        Meta(
            description="Time from the decision of a tick to the tick; `auto`: 100, `block_s` and"
            " 50 ms.",
            examples=[200],
        ),
    ] = "auto"
    target_harmony: Annotated[
        Ratio, Meta(description="Harmony to be shown as met.", examples=[0.86])
    ] = 0.86
    target_coherence: Annotated[
        Ratio, Meta(description="Coherence to be shown as met.", examples=[0.85])
    ] = 0.85

    def lead_s(self, block_s: float) -> float:
        """Return the time from the decision of a tick to the tick (s)."""
        return HOST_TICK_S + block_s + MARGIN_S if self.lead_ms == "auto" else self.lead_ms / 1000


class GainConfig(ConfigPart, frozen=True, kw_only=True):
    """Gains of the phase loop without entropy, and its free-running rate."""

    base_hz: Annotated[
        Positive | None,
        Meta(description="Free-running rate of ticks; by default that of `tick_ms`.", examples=[5]),
    ] = None
    kp: Annotated[Gain, Meta(description="Proportional gain (1/s).", examples=[0.35])] = 0.35
    ki: Annotated[Gain, Meta(description="Integral gain (1/s^2).", examples=[0.08])] = 0.08
    kd: Annotated[
        Gain, Meta(description="Derivative gain: weight of the measured rate.", examples=[0.1])
    ] = 0.10


class PhaseConfig(ConfigPart, frozen=True, kw_only=True):
    """Phase loop: its gains, and the window by which it judges itself."""

    drift_budget: Annotated[
        Ratio, Meta(description="Largest mean phase error (cycles).", examples=[0.02])
    ] = 0.02
    rebalance_window_s: Annotated[
        float,
        Meta(
            ge=5,
            le=600,
            description="Window of `bridge_phase_diff` and `bridge_sync_quality`, and period of the"
            " calibrator.",
            examples=[12],
        ),
    ] = 90.0
    gain: Annotated[GainConfig, Meta(description="Gains without entropy.")] = GainConfig()


class NonlinearGainConfig(ConfigPart, frozen=True, kw_only=True):
    """Gains as curves over the entropy ratio; `ki` keeps the damping."""

    kp_curve: Annotated[
        Curve,
        Meta(
            description="Points of entropy ratio and kp, rising in the first.",
            examples=[[[0.0, 0.35], [0.3, 0.22]]],
        ),
    ]
    kd_curve: Annotated[
        Curve,
        Meta(
            description="Points of entropy ratio and kd, rising in the first.",
            examples=[[[0.0, 0.1], [0.3, 0.18]]],
        ),
    ]
    ki_base: Annotated[Gain, Meta(description="ki at the first point.", examples=[0.08])]


class PhaseBurn(ConfigPart, frozen=True, kw_only=True):
    """Phase (cycles) beyond which the budget burns."""

    fast: Annotated[Ratio, Meta(description="Fast burn.", examples=[0.03])] = 0.03
    slow: Annotated[Ratio, Meta(description="Slow burn.", examples=[0.025])] = 0.025


class EntropyBurn(ConfigPart, frozen=True, kw_only=True):
    """Entropy ratio beyond which the budget burns."""

    warn: Annotated[Ratio, Meta(description="Warning.", examples=[0.18])] = 0.18
    crit: Annotated[Ratio, Meta(description="Critical.", examples=[0.22])] = 0.22


class BurnConfig(ConfigPart, frozen=True, kw_only=True):
    """Thresholds of the alerts."""

    phase: Annotated[PhaseBurn, Meta(description="Phase (cycles).")] = PhaseBurn()
    entropy: Annotated[EntropyBurn, Meta(description="Entropy ratio.")] = EntropyBurn()


class SafetyConfig(ConfigPart, frozen=True, kw_only=True):
    """Limits beyond which the clock is withheld."""

    residual_stddev_10m_max: Annotated[
        Ratio,
        Meta(description="Largest standard deviation of entropy in 10 min.", examples=[0.03]),
    ] = 0.03
    rollback_ratio_5m_max: Annotated[
        Ratio,
        Meta(description="Largest part of the last 5 min at a limit or silenced.", examples=[0.05]),
    ] = 0.05
    hard_stop_on: Annotated[
        tuple[str, ...],
        Meta(
            max_length=64,
            description="Conditions that silence the clock.",
            examples=[["coherence_level < 0.72"]],
        ),
    ] = ("coherence_level < 0.72",)
    hard_stop_keep_s: Annotated[
        Rest,
        Meta(description="Silence after the last of these conditions ended.", examples=[10]),
    ] = 10.0
    guarded_gain: Annotated[Ratio, Meta(description="Safety gain in state E3.", examples=[0.9])] = (
        0.9
    )


class ProtocolConfig(ConfigPart, frozen=True, kw_only=True):
    """Thresholds and dwells of the five states."""

    sync_hold: Annotated[
        Ratio, Meta(description="Sync quality that holds state E1.", examples=[0.8])
    ] = 0.8
    sync_bridged: Annotated[
        Ratio, Meta(description="Sync quality that state E2 needs.", examples=[0.85])
    ] = 0.85
    entropy_guard: Annotated[
        Ratio, Meta(description="Entropy ratio beyond which the clock is guarded.", examples=[0.15])
    ] = 0.15
    idle_s: Annotated[Rest, Meta(description="Least time in E0.", examples=[10])] = 10.0
    syncing_s: Annotated[
        Rest, Meta(description="Unmet time after which E1 is left for E0.", examples=[120])
    ] = 120.0
    bridged_s: Annotated[
        Rest, Meta(description="Unmet time after which E2 is left for E1.", examples=[300])
    ] = 300.0
    guard_s: Annotated[
        Rest, Meta(description="Time of high entropy after which E3 is entered.", examples=[60])
    ] = 60.0
    calm_s: Annotated[
        Rest, Meta(description="Calm time after which E3 is left for E2.", examples=[60])
    ] = 60.0
    guarded_s: Annotated[
        Rest,
        Meta(description="Time of high residual after which E3 is left for E1.", examples=[180]),
    ] = 180.0


class BridgeExporterConfig(ConfigPart, frozen=True, kw_only=True):
    """A port of its own for the metrics of the bridge."""

    http_port: Annotated[int, Meta(ge=1, le=65535, description="TCP port.", examples=[9306])] = 9306
    path: Annotated[
        str,
        Meta(
            pattern=r"^/[A-Za-z0-9._~/-]*$(?!\n)",
            description="Path of the metrics.",
            examples=["/metrics_bridge"],
            extra={"expected": "a path such as /metrics_bridge of letters, digits and . _ ~ / -"},
        ),
    ] = "/metrics_bridge"


class BridgeConfig(ConfigPart, frozen=True, kw_only=True):
    """The beat clock."""

    reference: Annotated[
        ReferenceConfig | None,
        Meta(description="The beats that the clock follows; none: states and safety only."),
    ] = None
    loop: Annotated[LoopConfig, Meta(description="The output clock.")] = LoopConfig()
    phase: Annotated[PhaseConfig, Meta(description="The phase loop.")] = PhaseConfig()
    nonlinear_gain: Annotated[
        NonlinearGainConfig | None,
        Meta(description="Gains as curves over the entropy ratio; constant by default."),
    ] = None
    burn_rate_thresholds: Annotated[BurnConfig, Meta(description="Thresholds of the alerts.")] = (
        BurnConfig()
    )
    safety: Annotated[SafetyConfig, Meta(description="When the clock is silent.")] = SafetyConfig()
    protocol: Annotated[
        ProtocolConfig, Meta(description="Thresholds and dwells of the five states.")
    ] = ProtocolConfig()
    calibrate: Annotated[
        Literal["off", "advise", "apply"],
        Meta(description="Advice on the gains, or its application.", examples=["apply"]),
    ] = "advise"
    exporter: Annotated[
        BridgeExporterConfig | None,
        Meta(description="A port of its own for the metrics; none by default."),
    ] = None
    state_file: Annotated[
        str | None,
        Meta(
            description="File with the newest tick, replaced at most 5 times a second; live only.",
            examples=["run/bridge_tick.json"],
        ),
    ] = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of the reference."""
        return self.reference.channels if self.reference else ()
