"""Calls of the extension with damaged bytes and extreme numbers, for a sanitizer build.

`python -m tests.native.damaged_calls EXTENSION`
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from operators import native
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
        node, cell, value, first, k = kernel_case(rng)
        far = np.array([-(2**63), -1, 0, 2**63 - 1])
        for nodes, firsts in ((node, first), (far, far), (far, None)):
            n = len(nodes)
            kernels.spread(
                rng.random((64, 8)), 6, nodes, np.resize(cell, n), np.resize(value, n),
                firsts, np.empty(k), np.empty(k),
            )  # fmt: skip
            runs, known = np.array([[0, k, 0, 0, n]]), rng.integers(-(2**63), 2**63 - 1, k)
            kernels.spread_runs(
                (rng.random((64, 8)),), 6, runs, nodes, np.resize(cell, n), np.resize(value, n),
                known, np.empty(k), np.empty(k),
            )  # fmt: skip
        kernels.search(numbers[:100].copy(), numbers, True, np.empty(len(numbers), np.int64))
    print("no finding")


if __name__ == "__main__":
    main()
