"""Calls of the extension with damaged bytes and extreme numbers, for a sanitizer build.

`python -m tests.native.damaged_calls EXTENSION`
"""

from __future__ import annotations

import math
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from operators import native
from operators.drift.offset_filter import OffsetFilterBank
from operators.types import F64
from tests.native.conftest import loaded
from tests.native.hostile_lines import decoded, kernel_case, text
from tests.sinks.files.test_encode import fused


def main() -> None:
    """Run the calls."""
    native.kernels = kernels = loaded(Path(sys.argv[1]))
    from sinks.files.encode import fused_lines

    for seed in range(40):
        rng = np.random.default_rng(seed)
        decoded([text(rng, 80, 0.0), *(text(rng, 100, harm) for harm in (0.1, 1.0))])
        numbers = rng.integers(0, 2**64, 3000, np.uint64).view(np.float64)
        numbers = numbers[~np.isinf(numbers)]
        codes = np.empty((0, len(numbers)), np.int64)
        kernels.render(len(numbers), (b"", b"\n"), (0,), numbers[None], codes, ())
        fused_lines(fused(50, members=3, signals=2, run=7, seed=seed), "rig")
        node, cell, value, _, k = kernel_case(rng)
        far = np.array([-(2**63), -1, 0, 2**63 - 1])
        for nodes in (node, far):
            n = len(nodes)
            runs, known = np.array([[0, k, 0, 0, n]]), rng.integers(-(2**63), 2**63 - 1, k)
            kernels.spread_runs(
                (rng.random((64, 8)),), 6, runs, nodes, np.resize(cell, n), np.resize(value, n),
                known, np.empty(k), np.empty(k),
            )  # fmt: skip
        part = rng.integers(-3, 40, (5, 200)).astype(float)
        part[0] = rng.integers(0, 3, 200)
        part[1, ::7], part[3, ::9] = np.nan, np.inf
        held, edge = np.array([0, 1, 0]), np.empty(4, np.int64)
        kernels.cells(part, -5, 20, 30, 5, 5, held, edge, np.empty(90), np.empty(90))
        at = np.sort(rng.uniform(-1e9 if seed % 2 else -20, 60, 90))
        grid = np.array([0, 30, 30, 90]), np.array([0.0, 2.0, np.inf]), 0.6, np.empty((3, 40))
        kernels.fill(rng.random((64, 10)), 6, at, at, *grid)
        k, m = int(rng.integers(0, 9)), int(rng.integers(0, 30))
        kinds, made = rng.random((3, k)), rng.random((3, m, k))
        kernels.trend(*rng.standard_normal((3, m)), 1.0, 0.0, *kinds, np.empty((5, k)), *made)
        stamps = rng.integers(0, 2**64, 64, np.uint64).view(np.float64)
        for times in (stamps, np.sort(1e9 + rng.random(64))):
            clock_calls(kernels, times, rng)
        kernels.search(numbers[:100].copy(), numbers, True, np.empty(len(numbers), np.int64))
    print("no finding")


def clock_calls(kernels: Any, times: F64, rng: np.random.Generator) -> None:
    """Call the functions of a clock with times (64,)."""
    delay, line = rng.random(64), (0.0, float(times[0]), 1e9)
    kernels.follow(times, delay, np.empty(64), 3, line, 1.0, 1.0, 1e12, int(rng.integers(-1, 80)))
    kernels.lowest(array("d", times), array("d", delay), line)
    kernels.grid(times, 48, 1)
    packets: list[list[float]] = [[] for _ in range(3)]
    seconds: list[list[float]] = [[] for _ in range(7)]
    head = (math.nan, math.nan, 0)
    for first in range(0, 64, 16):
        last = min(first + 16, 63)
        head, _ = kernels.window(times, delay[:63], first, last, 0, head, packets, seconds, 0.0)
    past, scale = array("d", delay[:5]), array("d", delay)
    kernels.decide(times, times, delay, past, scale, np.empty(64), 0.5, 1.0, 1e9, 0.0, False)
    bank = OffsetFilterBank.start(0.0, 0.5, 1e-8)
    for at, least in zip(times.tolist(), delay.tolist(), strict=True):
        kernels.read(bank, at, least, 1e-4, 1e-8, 0.0)


if __name__ == "__main__":
    main()
