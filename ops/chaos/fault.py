"""One fault of the streams: its kind, its window and the streams that it hits."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Mode = Literal["delay", "jitter", "spike", "loss", "step", "stop"]
MODES: tuple[Mode, ...] = get_args(Mode)
DURATIONS: dict[Mode, float] = {
    "delay": 180.0,
    "jitter": 300.0,
    "spike": 120.0,
    "loss": 120.0,
    "step": 0.0,
    "stop": 60.0,
}
"""Default durations (s); 0: without an end."""
TEXTS: dict[Mode, str] = {
    "delay": "events arrive 0.8 s later",
    "jitter": "events arrive 50 to 200 ms later, uniformly drawn",
    "spike": "values get white noise of 3 standard deviations",
    "loss": "each event is lost with a probability of 0.3",
    "step": "the senders' clocks are 0.5 s ahead",
    "stop": "no event arrives",
}
DELAY_S = 0.8
JITTER_S = (0.05, 0.2)
NOISE_SD = 3.0
LOSS = 0.3
STEP_S = 0.5
REPORTED = "ure_residual_entropy_last"
"""Key of the entropy that an engine reports."""


class Disturbance(NamedTuple):
    """A fault.

    Attributes
    ----------
    mode : Mode
    at_s : float
        Begin, after the first arrival or the start (s).
    for_s : float
        Duration (s); 0: without an end.
    on : tuple of str
        Names of sources, or channels `<source>:<key>`; none: all.
    seed : int
    entropy : float or None
        Reported entropy in a `spike`.
    tempo : float or None
        In a `step` the events come so much faster instead.
    """

    mode: Mode
    at_s: float = 0.0
    for_s: float = 0.0
    on: tuple[str, ...] = ()
    seed: int = 0
    entropy: float | None = None
    tempo: float | None = None

    @property
    def end_s(self) -> float:
        """End of the window, after the first arrival or the start (s)."""
        return self.at_s + self.for_s if self.for_s else float("inf")

    def hits(self, source: str, key: str) -> bool:
        """Return whether the fault is on a channel; an array is named by its key."""
        whole = key.partition("[")[0] if key.endswith("]") else key
        return not self.on or source in self.on or f"{source}:{whole}" in self.on
