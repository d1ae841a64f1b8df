"""Dashboard of clocks and lags: time correction of each channel, and its uncertainty."""

from __future__ import annotations

from operators.types import STATES
from ops.monitoring.grafana.dashboard import choice, dashboard
from ops.monitoring.grafana.panel import Json, lanes, lines, tile, which

STATE = tuple(zip(STATES, ("blue", "green", "orange", "red", "yellow"), strict=True))
OF = '{@, channel=~"$channel"}'
NO_CLOCK = "The channel has no clock of its own: it has a lag only."


def _banded(title: str, description: str, metric: str, sd: str, unit: str, empty: str) -> Json:
    return lines(
        title,
        f"{description} The band is ±2 sd.",
        {title.lower(): metric + OF},
        unit=unit,
        width=8,
        sd=sd + OF,
        empty=empty,
    )


CLOCKS = dashboard(
    "lumen-clocks", "Lumen Fusion · Clocks and lags",
    "Time correction of each channel, and its uncertainty.",
    {
        "": (
            lanes(
                "State of each channel",
                "Only live channels are fused. acquiring: no lag found yet; stale: silent; lost: "
                "silent for ten times as long; rejoining: back, and observed before it is fused.",
                {"{{channel}}": which('fusion_channel_state{@, channel=~"$channel", ', "state",
                                      STATES, "channel")},
                STATE,
            ),
            lines(
                "Weights",
                "Share of each channel in the fused value; the sum is 1. A channel that grows "
                "noisy loses weight by itself; one at 0 has no effect.",
                {"{{channel}}": 'fusion_channel_weight{@, signal="$signal", channel=~"$channel"}'},
                unit="percentunit", stacked=True, span=(0.0, 1.0), side=True,
            ),
            lines(
                "Lags",
                "Delay of each channel; below 0, early. A step is a change of the transmission "
                "path, a slope is an uncorrected clock.",
                {"{{channel}}": f"fusion_lag_seconds{OF}"}, unit="s", side=True,
            ),
            lines(
                "Confidence in the lags",
                "0: compared, and no lag found (weak, ambiguous, inverted); 1: certain. "
                "While it is low, the uncertainty of the lag in force grows.",
                {"{{channel}}": f"fusion_lag_confidence{OF}"}, span=(0.0, 1.0), side=True,
            ),
            lines(
                "Uncertainty of the lags",
                "One standard deviation. It shrinks while a lag is confirmed and grows otherwise; "
                "a configured lag has the configured value.",
                {"{{channel}}": f"fusion_lag_sd_seconds{OF}"}, unit="s", side=True,
            ),
            lines(
                "Jitter",
                "95th percentile of the arrival jitter of a source. It reduces the precision of "
                "the clock, not of the signal; a rise indicates the network.",
                {"{{channel}}": f"fusion_channel_jitter_p95_seconds{OF}"},
                unit="s", span=(0.0, None), side=True, empty=NO_CLOCK,
            ),
            lines(
                "Rates",
                "Effective rate of each channel. A rate below that of the device: datagrams are "
                "lost, or the device is throttled.",
                {"{{channel}}": f"fusion_channel_rate_hz{OF}"},
                unit="hertz", span=(0.0, None), side=True,
            ),
            tile(
                "Clock resets",
                "Steps of the source clock so far, each detected and followed. Many in a row: the "
                "sender sets its clock again and again, or sends from two clocks through one "
                "port.",
                {"{{channel}}": f"fusion_clock_resets_total{OF}"}, width=12, height=8, decimals=0,
            ),
        ),
        "$channel": (
            _banded(
                "Offset", "Host time minus source time. A straight slope is the skew; a jump is a "
                "clock reset.",
                "fusion_clock_offset_seconds", "fusion_clock_offset_sd_seconds", "s", NO_CLOCK,
            ),
            _banded(
                "Skew", "Above 0 the source clock runs fast. Beyond ±200 ppm it is no crystal: "
                "check the time stamps of the sender.",
                "fusion_clock_skew_ppm", "fusion_clock_skew_sd_ppm", "ppm", NO_CLOCK,
            ),
            _banded(
                "Lag", "Delay of the channel.",
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
