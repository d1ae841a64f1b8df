"""An LSL outlet in a process of its own, on a network of this process and its children alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from ops.fakes.lsl_network import alone

ROOT = Path(__file__).parents[2]
_folder = tempfile.TemporaryDirectory(prefix="lumen-lsl-")
alone(Path(_folder.name))  # before LSL is used: it reads its configuration once


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
        self.sent()

    def load(self, rate_hz: float, seconds: float, ahead_s: float = 0.0) -> None:
        """Begin to push numbers, with stamps that are ahead; `sent` waits for the end."""
        self._order({"load": {"rate_hz": rate_hz, "seconds": seconds, "ahead_s": ahead_s}})

    def sent(self) -> None:
        self._await("sent")

    def has_consumer(self) -> bool:
        self._order({"look": {}})
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

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
