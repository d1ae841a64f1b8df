"""Runs in an output folder that a new run set aside, since their lines were not taken in yet.

Each has a folder under `taken-later/`, with the lines that a follower still has to read. It is
removed once all followers of the run have read it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from configs.files import Access, LinkError
from sinks.files.jsonl import segments_of
from sinks.files.progress import (
    ASIDE,
    FINAL,
    LATER,
    RUN_NAME,
    STEMS,
    FilePlace,
    Final,
    final_of,
)
from sinks.files.readers import Places, places_of

_DONE = ".done"
"""After the name of a follower's report: it has read the run that was set aside."""


def waiting(folder: Path, final: Final, places: Mapping[str, Places]) -> Iterator[Path]:
    """Yield the segments of a run with lines that a follower has not taken in.

    Parameters
    ----------
    folder : Path
    final : Final
    places : mapping
        Of each follower in this run, by the name of its report.
    """
    for rig, files in final.rigs.items():
        for stem in STEMS:
            readers = [name for name, stems in final.readers.items() if stem in stems]
            if not readers:
                continue
            place = min(places.get(n, {}).get(rig, {}).get(stem, FilePlace()) for n in readers)
            for segment, path in segments_of(folder / files.folder, stem):
                byte = place.byte if segment == place.segment else 0
                if segment >= place.segment and not path.is_symlink():
                    with suppress(OSError):
                        if path.stat().st_size > byte:
                            yield path


def set_aside(root: Path, access: Access) -> None:
    """Move the lines of an earlier run that are not taken in out of the way of a new one.

    First the run is no longer published, last it is so in its new place: a kill in between leaves
    files that the next call moves, and no file is read under the name of another run.
    """
    with suppress(FileNotFoundError):
        (root / FINAL).replace(root / ASIDE)
    final = final_of(root, ASIDE)
    if final is None:
        (root / ASIDE).unlink(missing_ok=True)
        return
    if (root / LATER).is_symlink():
        raise LinkError(errno.ELOOP, "a link, not a folder", str(root / LATER))
    aside = root / LATER / final.run
    places = {name: places_of(root, name, final.run) for name in final.readers}
    for path in list(waiting(root, final, places)):
        to = aside / path.relative_to(root)
        to.parent.mkdir(mode=access.folder, parents=True, exist_ok=True)
        path.replace(to)
    if aside.is_dir():
        (root / ASIDE).replace(aside / FINAL)
    else:
        (root / ASIDE).unlink()


def later_runs(root: Path) -> list[Path]:
    """Return the folders of runs that were set aside, in the order of their names."""
    folder = root / LATER
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if RUN_NAME.fullmatch(path.name))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def lessen(root: Path, most: float) -> int:
    """Remove the oldest runs that were set aside until the rest has at most so many bytes.

    Returns
    -------
    int
        Removed lines.
    """
    runs = []
    for folder in later_runs(root):
        if (final := final_of(folder)) is not None:
            paths = list(waiting(folder, final, {}))
            runs.append((final.started, folder, paths, sum(p.stat().st_size for p in paths)))
    total, lost = sum(size for *_, size in runs), 0
    for _, folder, paths, size in sorted(runs):
        if total <= most:
            break
        lost += sum(_lines(path) for path in paths)
        forget(folder)
        total -= size
    return lost


def leave(folder: Path, final: Final, reader: str) -> None:
    """Note that a follower has read a run that was set aside; the last one removes it."""
    (folder / f"{reader}{_DONE}").touch()
    if all(has_left(folder, name) for name in final.readers):
        forget(folder)


def has_left(folder: Path, reader: str) -> bool:
    """Whether a follower has read a run that was set aside."""
    return (folder / f"{reader}{_DONE}").exists()


def forget(folder: Path) -> None:
    """Remove a run that was set aside; files that no run wrote stay."""
    for stem in STEMS:
        for inside in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            for _, path in [] if inside.is_symlink() else segments_of(inside, stem):
                path.unlink(missing_ok=True)
    (folder / FINAL).unlink(missing_ok=True)
    for path in folder.glob(f".lumen.*{_DONE}"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        for inside in [path for path in folder.iterdir() if path.is_dir()]:
            inside.rmdir()
        folder.rmdir()
        folder.parent.rmdir()


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
