"""Programs of others that send and receive OSC (`make peers`): where they are, how they are run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / ".peers"
OSCSEND = PEERS / "usr" / "bin" / "oscsend"
PD = PEERS / "usr" / "bin" / "puredata"
SCLANG = PEERS / "usr" / "bin" / "sclang"


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skip a test where a program is not there."""
    absent = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(absent), reason=f"no {' '.join(absent)}: make peers")


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
