"""Store the output of the shipped recordings anew: `python -m tests.golden.renew`, from the root.

Numbers go to `<run>.jsonl.gz`, hashes with the arithmetic that they belong to into
`shipped.json`. Whoever commits a change of either writes a line into CHANGELOG.md that
names the change of output and its reason.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.golden.shipped import HASHES, PINNED, RUNS, arithmetic, hashes, lines, run, store


def main() -> None:
    """Make every run with pinned arithmetic, and store its lines and hashes."""
    found = {}
    for name in RUNS:
        with tempfile.TemporaryDirectory(prefix="lumen-golden-") as folder:
            out = run(name, Path(folder), PINNED)
            store(name, lines(out))
            found[name] = hashes(out)
    document = {"arithmetic": arithmetic(), "runs": found}
    HASHES.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
