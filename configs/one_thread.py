"""Linear algebra in one thread, for the entry points of the program.

The number of cores must not show in the results: BLAS splits a sum among its threads, and each
split rounds in its own way. Matrices as small as those of the stations are slower in two threads.
"""

from __future__ import annotations

import os

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Environment variable that OpenBLAS reads once, when numpy is loaded."""


def one_thread() -> None:
    """Set one BLAS thread for this process and its children, unless the user has set a number.

    To be called before numpy is loaded, and by entry points only: a library leaves the environment
    as it is.
    """
    os.environ.setdefault(BLAS_THREADS, "1")
