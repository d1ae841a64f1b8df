"""Recordings of real devices: their folder, and the mark of tests that read them.

They are no part of the repository: they lie in `shared/data` beside it, or in `$LUMEN_DATA`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import skips

DATA = Path(os.environ.get("LUMEN_DATA") or Path(__file__).parents[3] / "shared" / "data").resolve()

needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason=skips.no_folder("recordings", DATA))
