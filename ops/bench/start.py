"""CPU time of a start: the command's help, a replay of four events, and the largest imports.

`python -m ops.bench.start [--rounds N]` runs each command in a process of its own, with compiled
modules as on a user's machine, and prints the least CPU seconds (user and system).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from ops.bench.throughput import CONFIG, HZ, ROOT, spend
from ops.text.table import table

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")
_LARGEST = 10


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the commands by name; the replay's files are written into the folder."""
    recording, config = folder / "four.ndjson", folder / "four.yaml"
    spend(["-m", "ops.bench.events", str(recording), "--events", "4"])
    paths = (json.dumps(str(path)) for path in (recording, folder / "out"))
    config.write_text(CONFIG.format(path=next(paths), out=next(paths), hz=HZ))
    return {
        "python -c pass": ["-c", "pass"],
        "lumen --help": ["-m", "ops", "--help"],
        "imports of the flow": ["-c", "import bytewax.run, flows.fusion"],
        "replay of four events": ["-m", "bytewax.run", f"flows.fusion:flow({str(config)!r})"],
    }


def imports() -> Counter[str]:
    """Return the time of the imports of the flow (us) by top package, without those they import."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    argv = [sys.executable, "-X", "importtime", "-c", "import bytewax.run, flows.fusion"]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    taken: Counter[str] = Counter()
    for own, name in _LINE.findall(done.stderr):
        taken[name.partition(".")[0]] += int(own)
    return taken


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        rows = [
            (name, f"{min(spend(argv).cpu_s for _ in range(rounds)):.3f}")
            for name, argv in commands(Path(name)).items()
        ]
    print(table(("command", "CPU s"), rows))
    largest = [(package, f"{us / 1e3:.1f}") for package, us in imports().most_common(_LARGEST)]
    print("\n" + table(("imports by package", "ms"), largest))


if __name__ == "__main__":
    main()
