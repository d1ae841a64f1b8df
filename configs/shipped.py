"""Shipped files by name: an installed package is used from folders that hold no checkout."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_PREFIX, _SCHEME = "configs/", "demo:"


def shipped(path: str) -> str:
    """Return a path as it is if it exists; else the shipped file of that name, if there is one.

    `configs/fusion.yaml`, `demo:fusion.yaml`, `demo:recordings/demo.ndjson.gz` and `stage` name
    shipped files. A path without a prefix has to be the bare name of a configuration.
    """
    if path.startswith((_PREFIX, _SCHEME)):
        name = path.removeprefix(_PREFIX).removeprefix(_SCHEME)
    elif path.isidentifier():
        name = f"{path}.yaml"
    else:
        return path
    found = _FOLDER / name
    if ".." in found.parts or Path(path).exists() or not found.is_file():
        return path
    return str(found)
