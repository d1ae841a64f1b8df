"""Whether the engine's own command, `python -m bytewax.run`, runs this process."""

from __future__ import annotations

import sys


def is_engine_command() -> bool:
    """Whether the main module is the engine's command: the flow is then the entry point."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == "bytewax.run"
