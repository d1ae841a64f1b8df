"""Folders of the output parts of a run: `part-0`, `part-1`, ..., or the output folder itself.

Each part is an output folder of its own, with lock, files and `run.json`; processes of one run
write to different parts.
"""

from __future__ import annotations

import re
from pathlib import Path

from configs.outputs import OutputConfig
from sinks.files.folder import TRACEBACK, Folder, FolderError

_PART = re.compile(r"part-(\d{1,2})")


def part_folder(output: OutputConfig, number: int) -> Path:
    """Return the folder of a part."""
    root = Path(output.dir)
    return root if output.parts == 1 else root / f"part-{number}"


def parts_of(root: Path) -> list[Path]:
    """Return the folders of the parts of a run, by number; the folder itself without parts."""
    found = ((_PART.fullmatch(path.name), path) for path in root.glob("part-*"))
    parts = sorted((int(match[1]), path) for match, path in found if match and path.is_dir())
    if not parts or (root / "run.json").exists():
        return [root]
    return [path for _, path in parts]


def check(output: OutputConfig) -> None:
    """Refuse an output folder in use, or with files that no such run wrote. Nothing is changed.

    Raises
    ------
    FolderError
        One line.
    """
    root = Path(output.dir)
    if output.parts > 1 and root.is_dir():
        ours = {f"part-{number}" for number in range(output.parts)}
        ours |= {TRACEBACK, f"{TRACEBACK}.tmp"}
        for path in sorted(root.glob("*")):
            if path.name not in ours:
                raise FolderError(
                    f"{path}: no run with output.parts {output.parts} wrote this; move it away"
                    " or choose another output.dir"
                )
    for number in range(output.parts):
        Folder(part_folder(output, number)).check()
