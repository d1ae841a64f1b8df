"""`lumen report`: one page with figures about a run, and a paragraph for a paper.

The report lies beside the folder of the run, so that this folder has results only.
`out.report/` contains the self-contained `report.html`, its figures and `methods.txt`. Equal runs
give equal bytes.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path

from configs.files import ACCESS, write_whole
from configs.inert import inert_lines
from ops.results.folder import rigs
from sinks.files.folder import rig_folder

MAX_DRAWN = 8
"""Rigs with figures; every rig has its verdict and its tables."""
PAGE, METHODS = "report.html", "methods.txt"
LACKING = "figures need matplotlib: pip install 'lumen-fusion[report]'"
_FIGURE_FILE = re.compile(
    r"(.+\.)?(alignment|fused|timeline|clocks|lags|indicators|bridge)(_\d+)?\.(png|svg)"
)


def write(folder: Path, into: Path | None = None) -> Path:
    """Write the report of a run and replace an earlier one.

    Parameters
    ----------
    folder : Path
        Folder of the results; the run may still be active.
    into : Path, optional
        Folder of the report; `<folder>.report` by default.

    Returns
    -------
    Path
        The page.
    """
    from ops.report.figures import pictures
    from ops.report.html import page
    from ops.report.methods import methods
    from ops.report.model import story
    from ops.report.verdict import verdict

    into = into or beside(folder)
    into.mkdir(parents=True, exist_ok=True)
    if (into / PAGE).exists():
        for path in (*into.glob("*.png"), *into.glob("*.svg")):
            if _FIGURE_FILE.fullmatch(path.name):
                path.unlink()
    read = story(folder)
    sections = []
    for place, rig in enumerate(read.rigs):
        prefix = f"{rig_folder(rig.name)}." if len(read.rigs) > 1 else ""
        drawn = [
            picture._replace(name=f"{prefix}{picture.name}")
            for picture in (pictures(rig) if place < MAX_DRAWN else ())
        ]
        for picture in drawn:
            _write(into / f"{picture.name}.png", picture.png)
            _write(into / f"{picture.name}.svg", picture.svg)
        sections.append((rig, verdict(read, rig), drawn))
    text = methods(read)
    _text(into / METHODS, text)
    _text(into / PAGE, page(read, sections, text))
    return into / PAGE


def beside(folder: Path) -> Path:
    """Return the folder of the report of a run."""
    whole = folder.resolve()
    return folder.parent / f"{whole.name}.report" if folder.name else whole.parent / "report"


def possible() -> bool:
    """Return whether figures can be drawn here."""
    return importlib.util.find_spec("matplotlib") is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen report`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="results of a run (output.dir)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: DIR.report")


def main(args: argparse.Namespace) -> int:
    """Write the report and print its path."""
    if not rigs(args.folder):
        print(
            f"lumen: {args.folder}: no results of a run: there is no fused.jsonl", file=sys.stderr
        )
        return 2
    if not possible():
        print(f"lumen: {LACKING}", file=sys.stderr)
        return 2
    try:
        print(write(args.folder, args.to))
    except OSError as error:
        print(f"lumen: the report cannot be written: {error}", file=sys.stderr)
        return 1
    return 0


def _text(path: Path, text: str) -> None:
    _write(path, inert_lines(text).encode())


def _write(path: Path, data: bytes) -> None:
    """Write a file for all readers; a link in its place is replaced, not followed."""
    write_whole(path, data, ACCESS["world"])
