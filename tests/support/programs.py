"""Programs of others that send and receive OSC (`make peers`): where they are, how they are run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ops.monitoring.programs import PeerError, peer
from tests.support import skips

PEERS = Path(__file__).parents[2] / ".peers"
OSCSEND = PEERS / "usr" / "bin" / "oscsend"
PD = PEERS / "usr" / "bin" / "puredata"
SCLANG = PEERS / "usr" / "bin" / "sclang"


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skip a test where a program is not there."""
    absent = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(absent), reason=skips.reason(absent, "peers"))


def needs_peers(*names: str) -> pytest.MarkDecorator:
    """Skip a test where a program is neither installed nor fetched."""
    absent = missing_peers(*names)
    return pytest.mark.skipif(bool(absent), reason=skips.reason(absent, "peers"))


def missing_peers(*names: str) -> list[str]:
    """Return the programs that are neither installed nor fetched."""
    absent = []
    for name in names:
        try:
            peer(name)
        except PeerError:
            absent.append(name)
    return absent


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a program that was unpacked and is not installed."""
    places = [PEERS / "usr" / "lib", *PEERS.glob("usr/lib/*-linux-gnu*")]
    home = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"), str(folder))
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, places)), **home, **more}


def interpreter(folder: Path, program: Path) -> tuple[list[str | Path], dict[str, str]]:
    """Return how SuperCollider's language runs a program in a folder, and its environment."""
    # Qt finds what it needs beside a program by a file there.
    shutil.copy(SCLANG, folder / "sclang")
    library = next(PEERS.glob("usr/lib/*-linux-gnu*/qt5"))
    (folder / "qt.conf").write_text(
        f"[Paths]\nPrefix={PEERS}/usr\nData=share/qt5\nTranslations=share/qt5/translations\n"
        f"Plugins={library}/plugins\nLibraryExecutables={library}/libexec\n"
    )
    classes = PEERS / "usr" / "share" / "SuperCollider" / "SCClassLibrary"
    (folder / "sclang.yaml").write_text(f"includePaths: [{classes}]\n")
    qt = {"QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_DISABLE_SANDBOX": "1",
          "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox"}  # fmt: skip
    return [folder / "sclang", "-a", "-l", "sclang.yaml", program], environment(folder, **qt)
