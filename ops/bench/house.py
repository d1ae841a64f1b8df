"""Counts of the source tree: entries, class names, snapshot idioms, and terms of speech.

    python -m ops.bench.house [ROOT]

ROOT is the checkout to count, by default this one. Product code is that of the six packages. Terms
of speech are counted in comments, strings and identifiers, clauses in comments and strings. Empty
lines do not count.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ops.fakes.monitoring import ROOT
from ops.text.table import table

PACKAGES = ("flows", "operators", "sources", "sinks", "configs", "ops")
HERE = Path(__file__)
"""This file holds the patterns that it counts."""
BIG = ("operators", "sources", "sinks", "ops")
"""Folders whose visible entries are counted."""
SPEECH = re.compile(
    r"(?<![a-z])(?:tells?|told|telling|says?|said|saying|hears?|heard|hearing"
    r"|speaks?|spoke|spoken|speaking)(?![a-z])",
    re.IGNORECASE,
)
CLAUSE = re.compile(
    r"\b(?:what|who|whoever|whatever) (?:has |have |had |can |may |could |will )?"
    r"(?:be |been )?(?:came|comes?|is|are|was|were)\b",
    re.IGNORECASE,
)
LOSS = re.compile(r"Refus|Lost|Loss|Reject|Dropp|Letter|Dead(?!line(?:$|[A-Z]))")
"""Class names of a lost event or line, without exceptions and `Deadline` (a time limit)."""
SNAPSHOTS = {
    "revive()": re.compile(r"\bdef revive\("),
    "restore()": re.compile(r"\bdef restore\("),
    "plain()": re.compile(r"\bdef plain\(self\b"),
    "state=None": re.compile(r"\bstate: State \| None = None[,)]"),
    "**saved": re.compile(r"\*\*saved\b"),
    "from_snapshot()": re.compile(r"\bdef from_snapshot\("),
}


def sources(root: Path) -> Iterator[tuple[Path, str]]:
    """Return each Python file of the product and its text."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if path != HERE and not {"node_modules", "__pycache__"} & set(path.parts):
                yield path, path.read_text("utf-8")


def tokens(text: str, *kinds: int) -> str:
    """Return the tokens of a module of some types, one a line."""
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string for token in found if token.type in kinds)


def entries(folder: Path) -> int:
    """Return the number of visible entries, without `__init__.py` and caches."""
    hidden = {"__init__.py", "__pycache__"}
    return sum(e.name not in hidden and not e.name.startswith(".") for e in folder.iterdir())


def counts(root: Path) -> list[tuple[str, str]]:
    """Return the counts of a checkout, by name."""
    classes: Counter[str] = Counter()
    losses: set[str] = set()
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    speech: Counter[str] = Counter()
    clauses = skips = 0
    idioms: set[str] = set()
    for path, text in sources(root):
        package = path.relative_to(root).parts[0]
        files[path.stem] += path.stem not in ("__init__", "__main__")
        lines[package] += sum(bool(line.strip()) for line in text.splitlines())
        prose = tokens(text, tokenize.COMMENT, tokenize.STRING)
        text_all = f"{prose} {tokens(text, tokenize.NAME)}".replace("_", " ")
        speech[package] += len(SPEECH.findall(text_all))
        clauses += len(CLAUSE.findall(re.sub(r"\s+", " ", prose)))
        skips += text.count("# fmt: skip")
        idioms |= {name for name, idiom in SNAPSHOTS.items() if idiom.search(text)}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                classes[node.name] += 1
                if LOSS.search(node.name) and not node.name.endswith("Error"):
                    losses.add(node.name)
    total = sum(lines.values())
    return [
        ("entries of " + ", ".join(BIG), str(sum(entries(root / folder) for folder in BIG))),
        ("class names used twice", str(sum(n > 1 for n in classes.values()))),
        ("module names used twice", str(sum(n > 1 for n in files.values()))),
        ("names of a loss", f"{len(losses)}: {', '.join(sorted(losses))}"),
        ("snapshot idioms", f"{len(idioms)}: {', '.join(sorted(idioms))}"),
        ("product lines", str(total)),
        ("fmt: skip", str(skips)),
        ("what/who clauses", str(clauses)),
        ("speech per 1,000 lines", f"{1e3 * sum(speech.values()) / total:.1f}"),
        *((f"  {p}", f"{1e3 * speech[p] / lines[p]:.1f}") for p in PACKAGES),
    ]


def main() -> int:
    """Print the counts of a checkout."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.house", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT)
    print(table(("count", "value"), counts(parser.parse_args().root)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
