"""A shipped configuration on free loopback ports and in a separate folder."""

from __future__ import annotations

import re
from pathlib import Path

from ops.fakes.ports import free_port

PAGE = 9310
"""Default port of the exporter."""
_ADDRESS = re.compile(r"\b(127\.0\.0\.1|0\.0\.0\.0):(\d+)")
_FOLDER = re.compile(r"\bdir: (\w+)")
_PAGE = re.compile(r"\bhttp_port: *(\d+)")
_RECORDING = re.compile(r"\bpath: (configs/[\w./]+)")


def moved(folder: Path, name: str, text: str, root: Path) -> tuple[Path, dict[int, int]]:
    """Write a configuration with other addresses and folders.

    Returns
    -------
    Path, dict
        Its path, and the new port by original port; `PAGE` is included.
    """
    ports: dict[int, int] = {}

    def port_of(old: int) -> int:
        return ports.setdefault(old, free_port())

    text = _ADDRESS.sub(lambda found: f"127.0.0.1:{port_of(int(found[2]))}", text)
    text = _PAGE.sub(lambda found: f"http_port: {port_of(int(found[1]))}", text)
    text = text.replace("exporter: {}", f"exporter: {{http_port: {port_of(PAGE)}}}")
    text = _FOLDER.sub(lambda found: f'dir: "{folder}/{found[1]}"', text)
    text = _RECORDING.sub(lambda found: f'path: "{root}/{found[1]}"', text)
    path = folder / f"{name}.yaml"
    path.write_text(text, "utf-8")
    return path, ports
