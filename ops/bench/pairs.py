"""Rate of false lags between two unrelated series.

`python -m ops.bench.pairs [--pairs N]`: N pairs (1000) of each kind of noise, ten minutes of 5 Hz
each, searched as `align` does: a window of a minute each ten seconds, both signs of lag up to 5 s.
A pair counts when the lag of any of its 58 windows is confident enough for use.

`--ladder`: the search for a first lag (operators/align/lag_search.py), on series of 40 Hz and their
versions at 20, 10 and 5: a window each second, growing from 13 s to a minute, for 75 s. Beside the
noises, unrelated real pairs: random stretches of channels of different recordings (`$LUMEN_DATA`,
or `../shared/data` beside the tree). A pair counts when a lag is confirmed.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from operators.align.coarse_grid import BETA, CUTOFF, HALF_WIDTH
from operators.align.lag_search import MIN_WINDOW_S, RATES_HZ, Ladder, look
from operators.numeric.correlation import UNKNOWN, SampledSeries, lag_of
from operators.types import F64
from ops.bench import lock
from ops.text.table import table

HZ, WINDOW_S, HOP_S, MAX_S, SECONDS = 5.0, 60.0, 10.0, 5.0, 600.0
KINDS = ("white", "1/f", "1/f^2", "narrow-band")
TOP_HZ, SECONDS_LADDER, RECORDINGS_S = 40.0, 75.0, (17.0, 32.0)
RECORDINGS = {
    "sevivi_walking": ("imu_lf:acc_norm", "kinect:spine_acc_norm"),
    "nilspod_synced": ("pod_922a:acc_x", "pod_323c:acc", "pod_7fad:gyr_norm"),
    "empatica_multirate": ("e4_bvp:bvp", "e4_acc:acc"),
    "ecg_vp01": ("chest:ecg", "chest_acc:acc_norm"),
    "px4_2016": ("imu:acc_x", "imu:acc_z"),
}
"""Channels of each recording that are a movement or a beat."""


def noise(kind: str, n: int, rng: np.random.Generator) -> F64:
    """Return n samples of noise: flat, falling, or 0.1 Hz wide about 0.2 to 1.4 Hz."""
    hz = np.fft.rfftfreq(4 * n, 1 / HZ)
    spectrum = rng.standard_normal((2, len(hz)))
    if kind == "narrow-band":
        shape = np.exp(-0.5 * ((hz - rng.uniform(0.2, 1.4)) / 0.05) ** 2)
    else:
        shape = np.maximum(hz, hz[1]) ** -{"white": 0.0, "1/f": 0.5, "1/f^2": 1.0}[kind]
    # A part of a longer series, so that its ends do not join.
    return np.asarray(np.fft.irfft((spectrum[0] + 1j * spectrum[1]) * shape)[:n])


def windows_with_a_lag(a: F64, b: F64) -> int:
    """Return the number of windows of a pair with a confident lag."""
    window, hop = round(WINDOW_S * HZ), round(HOP_S * HZ)
    ends = range(window // 2, len(a) + 1, hop)
    return sum(
        lag_of(
            SampledSeries(a[max(e - window, 0) : e]),
            SampledSeries(b[max(e - window, 0) : e]),
            HZ,
            MAX_S,
        ).ok
        for e in ends
    )


def lowered(x: F64, hz: float) -> F64:
    """Return a series of TOP_HZ at a lower rate, through the resampling kernel.

    One second is cut at each end: its missing samples would be common to both series.
    """
    ratio, edge = round(TOP_HZ / hz), round(TOP_HZ)
    u = np.arange(-HALF_WIDTH * ratio, HALF_WIDTH * ratio + 1) / ratio
    kernel = np.sinc(2 * CUTOFF * u) * np.i0(BETA * np.sqrt(1 - (u / HALF_WIDTH) ** 2))
    return np.convolve(x, kernel / kernel.sum(), "same")[edge:-edge:ratio]


def confirmed(a: F64, b: F64, top_hz: float = TOP_HZ, step_s: float = 1.0) -> bool:
    """Return whether a search of two series of TOP_HZ confirms a lag."""
    ladder = Ladder()
    views = [(hz, lowered(a, hz), lowered(b, hz)) for hz in RATES_HZ if hz <= top_hz]
    for end_s in np.arange(MIN_WINDOW_S, len(views[0][1]) / RATES_HZ[0] + 1e-9, step_s):
        begin_s = max(end_s - WINDOW_S, 0.0)
        best = UNKNOWN
        for hz, x, y in views:
            cut = slice(round(begin_s * hz), round(end_s * hz))
            found = look(SampledSeries(x[cut]), SampledSeries(y[cut]), hz, MAX_S)
            if found.ok and not best.confidence >= found.confidence:
                best = found
        if best.ok and ladder.confirms(best, float(end_s), float(end_s - begin_s), WINDOW_S):
            return True
    return False


def recorded() -> dict[str, list[F64]]:
    """Return the channels by recording, on an even grid of TOP_HZ."""
    out: dict[str, list[F64]] = {}
    for name, wanted in RECORDINGS.items():
        if not (lock.DATA / f"{name}.ndjson.gz").exists():
            continue
        channels = lock.read(name)
        for channel in (c for c in wanted if c in channels):
            at, value = channels[channel]
            grid = np.arange(at[0], at[-1], 1 / TOP_HZ)
            even = np.interp(grid, at, value - np.mean(value))
            # The mean of the samples between two points, against aliasing.
            total = np.interp(
                grid,
                at,
                np.concatenate(([0.0], np.cumsum(np.diff(at) * (value[1:] + value[:-1]) / 2))),
            )
            even[:-1] = np.diff(total) * TOP_HZ
            out.setdefault(name, []).append(even[:-1])
    return out


def real_pair(channels: dict[str, list[F64]], rng: np.random.Generator) -> tuple[F64, F64]:
    """Return stretches of channels of two recordings."""
    seconds = rng.uniform(*RECORDINGS_S)
    parts = []
    for k in rng.choice(len(channels), 2, replace=False):
        mine = list(channels.values())[k]
        x = mine[rng.integers(len(mine))]
        n = min(round(seconds * TOP_HZ), len(x))
        begin = rng.integers(len(x) - n + 1)
        parts.append(x[begin : begin + n])
    n = min(map(len, parts))
    return parts[0][:n], parts[1][:n]


def climb(pairs: int, seed: int, step_s: float, kinds: list[str]) -> None:
    """Print the number of pairs of each kind with a confirmed lag."""
    rows: list[tuple[str, str, str]] = []
    channels = recorded()
    for kind in kinds:
        if kind == "recordings" and len(channels) < 2:
            print(f"{lock.DATA} has fewer than two recordings: left out")
            continue
        rng = np.random.default_rng([seed, *kind.encode(), 7])
        n = round(SECONDS_LADDER * TOP_HZ)
        found = 0
        for _ in range(pairs):
            if kind == "recordings":
                a, b = real_pair(channels, rng)
            else:
                a, b = (noise(kind, n, rng) for _ in range(2))
            found += confirmed(a, b, step_s=step_s)
        rows.append((kind, str(pairs), str(found)))
        print(f"{kind}: {found} of {pairs}", flush=True)
    print(table(("pairs", "number", "confirmed"), rows))


def main() -> None:
    """Print the number of pairs of each kind with a lag."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--ladder", action="store_true", help="search for a first lag at several rates"
    )
    parser.add_argument("--kinds", nargs="*", default=[*KINDS, "recordings"])
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds between two searches (%(default)s)"
    )
    given = parser.parse_args()
    if given.ladder:
        climb(given.pairs, given.seed, given.every, given.kinds)
        return
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
