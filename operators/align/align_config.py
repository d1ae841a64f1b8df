"""Configuration of `align`: how lags are searched and tracked."""

from __future__ import annotations

import math
from typing import Literal

from operators.align.lag_search import MIN_WINDOW_S, RATES_HZ
from operators.correlation import SEGMENT
from operators.plan import ConfigPart, Hop, NotNegative, Positive, Profile, Rate, Span, Wait


class KalmanConfig(ConfigPart, frozen=True, kw_only=True):
    """Walk of a lag, `q` in s^2/s, and variance of one reading of 64 samples, `r` in s^2.

    `auto`: both are estimated from the data. A walk of 1e-10 moves a lag by 0.25 ms in ten
    minutes.
    """

    q: Literal["auto"] | NotNegative = "auto"
    r: Literal["auto"] | Positive = "auto"


class AlignConfig(ConfigPart, frozen=True, kw_only=True):
    """Search and tracking of lags; signal content up to 0.4 `search_hz` counts."""

    method: Literal["xcorr_kalman"] = "xcorr_kalman"
    max_lag_s: Wait = 5.0
    window_s: Span = 60.0
    hop_s: Hop = 10.0
    wait_lag_s: Literal["auto"] | Wait = "auto"
    search_hz: Literal["auto"] | Rate = "auto"
    kalman: KalmanConfig = KalmanConfig()

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
