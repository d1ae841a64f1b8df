"""How often two series that have nothing in common are given a lag.

`python -m ops.bench.pairs [--pairs N]`: N pairs (1000) of each kind of noise, ten minutes of 5 Hz
each, searched as `align` does: a window of a minute each ten seconds, both signs of lag up to 5 s.
A pair counts when any of its 58 windows is sure enough of a lag to be used.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from operators.correlate import Series, lag_of
from operators.records import F64
from ops.table import table

HZ, WINDOW_S, HOP_S, MOST_S, SECONDS = 5.0, 60.0, 10.0, 5.0, 600.0
KINDS = ("white", "1/f", "1/f^2", "narrow-band")


def noise(kind: str, n: int, rng: np.random.Generator) -> F64:
    """Return n samples of noise: flat, falling, or 0.1 Hz wide about 0.2 to 1.4 Hz."""
    hz = np.fft.rfftfreq(4 * n, 1 / HZ)
    spectrum = rng.standard_normal((2, len(hz)))
    if kind == "narrow-band":
        shape = np.exp(-0.5 * ((hz - rng.uniform(0.2, 1.4)) / 0.05) ** 2)
    else:
        shape = np.maximum(hz, hz[1]) ** -{"white": 0.0, "1/f": 0.5, "1/f^2": 1.0}[kind]
    # Of a longer series, so that its ends do not meet.
    return np.asarray(np.fft.irfft((spectrum[0] + 1j * spectrum[1]) * shape)[:n])


def windows_with_a_lag(a: F64, b: F64) -> int:
    """Return how many windows of a pair are sure of a lag."""
    window, hop = round(WINDOW_S * HZ), round(HOP_S * HZ)
    ends = range(window // 2, len(a) + 1, hop)
    return sum(
        lag_of(Series(a[max(e - window, 0) : e]), Series(b[max(e - window, 0) : e]), HZ, MOST_S).ok
        for e in ends
    )


def main() -> None:
    """Print how many pairs of each kind were given a lag."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = []
    for kind in KINDS:
        rng = np.random.default_rng([given.seed, KINDS.index(kind)])
        n = round(SECONDS * HZ)
        sure = Counter(
            windows_with_a_lag(noise(kind, n, rng), noise(kind, n, rng)) > 0
            for _ in range(given.pairs)
        )
        rows.append((kind, str(given.pairs), str(sure[True])))
    print(table(("noise", "pairs", "given a lag"), rows))


if __name__ == "__main__":
    main()
