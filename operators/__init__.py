"""The stations, and the types that flow between them.

Linear algebra runs in one thread: how many cores there are must not show in the results, and
matrices as small as theirs are slower in two.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
