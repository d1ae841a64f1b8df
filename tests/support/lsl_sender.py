"""An LSL outlet in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class LslSender:
    """One outlet; `end` closes it without notice, as a crash does."""

    def __init__(self, name: str, **spec) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.fakes.lsl_network", json.dumps({"name": name, **spec})],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._await("ready")

    def push(self, samples: list, stamps: list[float]) -> None:
        self._order({"samples": samples, "stamps": stamps})
        self._await("sent")

    def load(self, rate_hz: float, seconds: float) -> None:
        """Begin to push numbers; `push` and `end` wait for its end."""
        self._order({"load": {"rate_hz": rate_hz, "seconds": seconds}})

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _order(self, order: dict) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def _await(self, word: str) -> None:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line == f"{word}\n", line
