"""The five indicators and their expectations, by the signal-to-noise ratio in the band.

`python -m ops.bench.indicators [--windows N] [--members K]`: members that measure one movement,
each with its own white noise, S times weaker. With C = (S / (1 + S))^2, N bins and L segments:

- phase_diff: E |phi| / 2 pi of a normal phi of variance (1 - C) / (2 C B T)
- coherence: C
- harmony: sqrt(C), all pairs being alike
- sync_quality: pi/4 sqrt(C) 2F1(1/2, 1/2; 2; C), of two circular Gaussian phasors
- entropy_ratio: 1 / (1 + S), times 1 - 1 / (2 L ln N) for a white spectrum of L looks

Sources: Bendat & Piersol, Random Data, ch. 9 (phase); Lee, Miller & Wright, IEEE Trans. Geosci.
Remote Sens. 32 (1994) (phasors).
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from operators.numeric.correlation import HALF_OVERLAP
from operators.presence import LIVE
from operators.quality import BAND_HZ, QUALITY_HZ, Quality, QualityConfig
from operators.records import INDICATORS, Grid, Packet
from operators.settings.plan import Member, Plan, Signal
from operators.types import F64
from ops.text.table import table

WINDOW_S = 120.0
LOOKS, BINS = 18 * HALF_OVERLAP, 18
SNR_DB = (0.0, 3.0, 6.0, 10.0, 13.0, 20.0)


def expected(snr_db: float) -> F64:
    """Return the five expectations (5,) in the order of INDICATORS."""
    s = 10 ** (snr_db / 10)
    c = (s / (1 + s)) ** 2
    term = total = 1.0
    for n in range(2000):
        term *= (n + 0.5) ** 2 / ((n + 2) * (n + 1)) * c
        total += term
    phase = math.sqrt((1 - c) / (2 * c * (BAND_HZ[1] - BAND_HZ[0]) * WINDOW_S))
    return np.array(
        [
            phase * math.sqrt(2 / math.pi) / (2 * math.pi),
            c,
            math.sqrt(c),
            math.pi / 4 * math.sqrt(c) * total,
            (1 - 1 / (2 * LOOKS * math.log(BINS))) / (1 + s),
        ]
    )


def white(rng: np.random.Generator, n: int, low: float = 0.02, high: float = 1.6) -> F64:
    """Return noise (n,) of RMS 1 that is white from `low` to `high` Hz."""
    f = np.fft.rfft(rng.standard_normal(n))
    frequency = np.fft.rfftfreq(n, 1 / QUALITY_HZ)
    f[(frequency < low) | (frequency > high)] = 0
    x = np.fft.irfft(f, n)
    return np.asarray(x / x.std())


def measured(snr_db: float, windows: int, members: int = 5, seed: int = 0) -> F64:
    """Return the indicators (windows, 5) of disjoint windows."""
    hops = round(WINDOW_S)
    found = each_hop(snr_db, windows, members, seed)
    return found[hops - 1 :: hops][:windows]


def each_hop(snr_db: float, windows: int, members: int = 5, seed: int = 0) -> F64:
    """Return the indicators (hops, 5) of each second, of so many windows and one more."""
    rng = np.random.default_rng(seed)
    n = round(WINDOW_S * QUALITY_HZ) * (windows + 1)
    x, sd = white(rng, n), 10 ** (-snr_db / 20)
    value = np.stack([x + sd * white(rng, n) for _ in range(members)], axis=1)
    names = tuple(f"s{k}:x" for k in range(members))
    plan = Plan("bench", (Signal("x", tuple(Member("x", c, "sensors") for c in names), names[0]),))
    at, whole = np.arange(n) / QUALITY_HZ, np.zeros((n, members))
    grid = Grid(
        0,
        at,
        at,
        np.full(whole.shape, LIVE),
        whole + 1,
        whole,
        whole,
        whole + 1,
        whole + 20,
        whole,
        value,
        whole + 1,
        whole,
        whole,
        whole,
        whole,
        whole,
        np.zeros(whole.shape, np.int8),
    )
    packet = Packet("bench", float(at[-1]), True, at, grid=grid)
    found: F64 = np.array(Quality(plan, QualityConfig()).update(packet).indicators)
    return found[:, 1:]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--windows", type=int, default=100, help="default %(default)s")
    parser.add_argument("--members", type=int, default=5, help="default %(default)s")
    given = parser.parse_args()
    rows = []
    for snr_db in SNR_DB:
        true, found = expected(snr_db), measured(snr_db, given.windows, given.members)
        mean, sd = found.mean(axis=0), found.std(axis=0)
        cells = zip(true, mean, sd, strict=True)
        rows.append([f"{snr_db:g} dB", *(f"{m:.3f} ({t:.3f}) +- {s:.3f}" for t, m, s in cells)])
    print("mean over windows (expected) +- sd of one window of 120 s")
    print(table(["SNR in the band", *INDICATORS], rows))


if __name__ == "__main__":
    main()
