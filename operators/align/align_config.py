"""Configuration of `align`: how lags are searched and tracked."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta

from operators.align.lag_search import MIN_WINDOW_S, RATES_HZ
from operators.numeric.correlation import SEGMENT
from operators.settings.config_part import (
    ConfigPart,
    Hop,
    NotNegative,
    Positive,
    Profile,
    Rate,
    Span,
    Wait,
)


class KalmanConfig(ConfigPart, frozen=True, kw_only=True):
    """Walk of a lag, `q` in s^2/s, and variance of one reading of 64 samples, `r` in s^2.

    `auto`: both are estimated from the data. A walk of 1e-10 moves a lag by 0.25 ms in ten
    minutes.
    """

    q: Annotated[
        Literal["auto"] | NotNegative,
        Meta(
            description="Variance by which a lag drifts per second; `auto` estimates it.",
            examples=[1e-9],
            extra={"unit": "s^2/s"},
        ),
    ] = "auto"
    r: Annotated[
        Literal["auto"] | Positive,
        Meta(
            description="Variance of a lag measured from 64 samples; `auto` estimates it.",
            examples=[1e-6],
            extra={"unit": "s^2"},
        ),
    ] = "auto"


class AlignConfig(ConfigPart, frozen=True, kw_only=True):
    """Search and tracking of lags; signal content up to 0.4 `search_hz` counts."""

    method: Annotated[
        Literal["xcorr_kalman"],
        Meta(
            description="Cross-correlation, tracked by a Kalman filter.",
            examples=["xcorr_kalman"],
        ),
    ] = "xcorr_kalman"
    max_lag_s: Annotated[
        Wait,
        Meta(
            description="Largest lag that is searched; less than half of `window_s`.",
            examples=[2.0],
        ),
    ] = 5.0
    window_s: Annotated[
        Span,
        Meta(
            description="Window of data in which a lag is searched.",
            examples=[30.0],
        ),
    ] = 60.0
    hop_s: Annotated[
        Hop,
        Meta(
            description="Time from one search to the next; at most half of `window_s`.",
            examples=[5.0],
        ),
    ] = 10.0
    wait_lag_s: Annotated[
        Literal["auto"] | Wait,
        Meta(
            description="Largest lag that a tick waits for; a later member has no weight."
            " `auto`: any lag, or none for `low_latency`.",
            examples=[0.02],
        ),
    ] = "auto"
    search_hz: Annotated[
        Literal["auto"] | Rate,
        Meta(
            description="Rate of the grid on which lags are searched; content up to 0.4 of it"
            " counts.",
            examples=[20.0],
        ),
    ] = "auto"
    kalman: Annotated[
        KalmanConfig,
        Meta(
            description="The lag filter.",
        ),
    ] = KalmanConfig()

    def rates(self) -> tuple[float, ...]:
        """Return the rates of the grids on which lags are searched (Hz), rising."""
        return RATES_HZ if self.search_hz == "auto" else (self.search_hz,)

    def least_window_s(self) -> float:
        """Return the shortest window in which a lag can be found (s)."""
        return max(MIN_WINDOW_S, math.ceil(SEGMENT / self.rates()[0]))

    def waits_for_lag(self, profile: Profile) -> float:
        """Return the largest lag that the release of a tick waits for (s)."""
        if self.wait_lag_s != "auto":
            return self.wait_lag_s
        return float("inf") if profile == "accurate" else 0.0
