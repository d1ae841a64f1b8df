"""An LSL network of this machine alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ops.fakes.lsl_network import alone

_folder = tempfile.TemporaryDirectory(prefix="lumen-lsl-")
alone(Path(_folder.name))  # before any test imports pylsl
