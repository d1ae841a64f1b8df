"""Faults on the numbers of a page in the text format of Prometheus.

State: mean and variance of at most 4,096 samples.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ops.chaos.fault import NOISE_SD, REPORTED, STEP_S, Disturbance
from ops.chaos.rewriting import Spread

MAX_SAMPLES = 4096
_SAMPLE = re.compile(rb"^(\w[\w:]*(?:\{[^\n]*\})?)[ \t]+(\S+)(?:[ \t]+(-?\d+))?([ \t]*\r?)$", re.M)


class PageValues:
    """Changes pages of one engine."""

    def __init__(self, fault: Disturbance, rng: np.random.Generator) -> None:
        self._fault, self._rng = fault, rng
        self._spreads: dict[bytes, Spread] = {}

    def changed(self, page: bytes, active: bool) -> bytes:
        """Return a page; outside the window it is read for the spread of its values alone."""
        made = _SAMPLE.sub(lambda found: self._sample(found, active), page)
        return made if active else page

    def _sample(self, found: re.Match[bytes], active: bool) -> bytes:
        name, text, stamp, rest = found.groups()
        try:
            value = float(text)
        except ValueError:
            return found[0]
        spread = self._spreads.get(name)
        if active and self._fault.mode == "spike":
            if self._fault.entropy is not None and name.partition(b"{")[0] == REPORTED.encode():
                value = self._fault.entropy
            elif spread is not None:
                value += NOISE_SD * spread.sd * float(self._rng.standard_normal())
        elif not active and math.isfinite(value):
            if spread is None and len(self._spreads) < MAX_SAMPLES:
                spread = self._spreads[name] = Spread()
            if spread is not None:
                spread.add(np.array([value]))
        if active and self._fault.mode == "step" and stamp:
            stamp = b"%d" % (int(stamp) + round(STEP_S * 1000))
        number = text if value == float(text) or math.isnan(value) else repr(value).encode()
        return b" ".join(filter(None, (name, number, stamp))) + rest
