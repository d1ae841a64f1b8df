"""Clocks and lags: how each channel's time is put right, and how sure that is."""

from __future__ import annotations

from operators.types import STATES
from ops.monitoring.grafana.dashboard import choice, dashboard
from ops.monitoring.grafana.panel import Json, lanes, lines, tile, which

STATE = tuple(zip(STATES, ("blue", "green", "orange", "red", "yellow"), strict=True))
OF = '{@, channel=~"$channel"}'
NO_CLOCK = "The channel has no clock of its own: it has a lag only."


def _banded(title: str, said: str, metric: str, sd: str, unit: str, empty: str) -> Json:
    return lines(
        title, f"{said} The band is ±2 sd.", {title.lower(): metric + OF},
        unit=unit, width=8, sd=sd + OF, empty=empty,
    )  # fmt: skip


CLOCKS = dashboard(
    "lumen-clocks", "Lumen Fusion · Clocks and lags",
    "How the time of each channel is put right, and how sure that is.",
    {
        "": (
            lanes(
                "State of each channel",
                "Only live channels are fused. acquiring: no lag found yet; stale: silent; lost: "
                "silent for ten times as long; rejoining: back, and watched before it counts.",
                {"{{channel}}": which('fusion_channel_state{@, channel=~"$channel", ', "state",
                                      STATES, "channel")},
                STATE,
            ),
            lines(
                "Weights",
                "Each channel's part of the fused value; they add up to 1. A channel that grows "
                "noisy loses weight by itself; one at 0 is not heard.",
                {"{{channel}}": 'fusion_channel_weight{@, signal="$signal", channel=~"$channel"}'},
                unit="percentunit", stacked=True, span=(0.0, 1.0), side=True,
            ),
            lines(
                "Lags",
                "How late each channel is; below 0, early. A step is a change on its way to us, a "
                "slope a clock that is not put right.",
                {"{{channel}}": f"fusion_lag_seconds{OF}"}, unit="s", side=True,
            ),
            lines(
                "Confidence in the lags",
                "0: compared, and no lag found (weak, ambiguous, upside down); 1: beyond doubt. "
                "While it is low the lag in force grows less sure.",
                {"{{channel}}": f"fusion_lag_confidence{OF}"}, span=(0.0, 1.0), side=True,
            ),
            lines(
                "Uncertainty of the lags",
                "One standard deviation. It shrinks while a lag is confirmed and grows while it is "
                "not; a given lag has the one that was given.",
                {"{{channel}}": f"fusion_lag_sd_seconds{OF}"}, unit="s", side=True,
            ),
            lines(
                "Jitter",
                "95th percentile of how unevenly a source's events arrive. It costs certainty of "
                "the clock, not of the signal; a rise points at the network.",
                {"{{channel}}": f"fusion_channel_jitter_p95_seconds{OF}"},
                unit="s", span=(0.0, None), side=True, empty=NO_CLOCK,
            ),
            lines(
                "Rates",
                "Effective rate of each channel. Below what the device should send: datagrams are "
                "lost, or the device is throttled.",
                {"{{channel}}": f"fusion_channel_rate_hz{OF}"},
                unit="hertz", span=(0.0, None), side=True,
            ),
            tile(
                "Clock resets",
                "Steps of the source's clock so far, each found and followed. Many in a row: the "
                "sender sets its clock again and again, or sends from two clocks through one "
                "port.",
                {"{{channel}}": f"fusion_clock_resets_total{OF}"}, width=12, height=8, decimals=0,
            ),
        ),
        "$channel": (
            _banded(
                "Offset", "Host time less source time. A straight slope is the skew; a jump is a "
                "clock reset.",
                "fusion_clock_offset_seconds", "fusion_clock_offset_sd_seconds", "s", NO_CLOCK,
            ),
            _banded(
                "Skew", "Above 0 the source clock runs fast. Beyond ±200 ppm it is no crystal: "
                "look at how the sender makes its stamps.",
                "fusion_clock_skew_ppm", "fusion_clock_skew_sd_ppm", "ppm", NO_CLOCK,
            ),
            _banded(
                "Lag", "How late the channel is.",
                "fusion_lag_seconds", "fusion_lag_sd_seconds", "s", "No lag found yet.",
            ),
        ),
    },
    (
        choice("signal", "Signal", "label_values(fusion_channel_weight{@}, signal)"),
        choice("channel", "Channel",
               'label_values(fusion_channel_weight{@, signal="$signal"}, channel)', several=True),
    ),
    each="$channel",
)  # fmt: skip
