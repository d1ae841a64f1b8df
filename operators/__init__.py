"""The stations, and the types that flow between them.

Linear algebra runs in one thread: results must not depend on the number of cores, and the
matrices here are too small to gain from a second thread.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
