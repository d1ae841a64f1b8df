"""Unit files of systemd: their keys, with those of drop-ins added.

Source: systemd.unit(5) and systemd.syntax(7) of systemd 252.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
           "usr/lib/systemd/system", "lib/systemd/system")  # fmt: skip
"""Folders of unit files, the first of a name in force."""
Unit = dict[str, list[str]]
"""Values by key, in order; an empty value has ended the ones before it."""


def parse(text: str, unit: Unit | None = None) -> Unit:
    """Return the keys of a unit file, added to those of another one.

    Parameters
    ----------
    text : str
        Sections are one: no key of a service stands in two of them.
    unit : Unit, optional
    """
    found = unit if unit is not None else {}
    for line in text.replace("\\\n", " ").splitlines():
        key, mark, value = line.strip().partition("=")
        if not mark or key[:1] in ("#", ";", "["):
            continue
        values = found.setdefault(key.strip(), [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()
    return found


def unit_files(root: Path, name: str) -> list[Path]:
    """Return the file of a unit, and its drop-ins in their order; none where it is not installed.

    Parameters
    ----------
    root : Path
    name : str
        Such as `lumen@main.service`.
    """
    stem, at, _ = name.partition("@")
    ending = name.rpartition(".")[2]
    names = [name, f"{stem}@.{ending}"] if at else [name]
    main = next(
        (path for each in names for folder in FOLDERS if (path := root / folder / each).is_file()),
        None,
    )
    if main is None:
        return []
    added: dict[str, Path] = {}
    for each in reversed(names):
        for folder in reversed(FOLDERS):
            for path in sorted((root / folder / f"{each}.d").glob("*.conf")):
                added[path.name] = path
    return [main, *(added[name] for name in sorted(added))]


def read_unit(files: Iterable[Path]) -> Unit:
    """Return the keys of a unit file and its drop-ins.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    unit: Unit = {}
    for path in files:
        parse(path.read_text("utf-8", errors="replace"), unit)
    return unit


def last(unit: Unit, key: str) -> str:
    """Return the value in force of a key, empty without one."""
    return (unit.get(key) or [""])[-1]
