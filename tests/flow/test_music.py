"""The shipped music, played: the sound of a replay, and that playing changes nothing."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from bytewax.testing import run_main
from pythonosc.osc_message import OscMessage

from flows.fusion import flow

MUSIC = Path("configs/music.yaml")


def ran(folder: Path, name: str, text: str) -> bytes:
    config, out = folder / f"{name}.yaml", folder / name
    config.write_text(text.replace("{dir: out}", f"{{dir: {out}}}"))
    run_main(flow(str(config), progress=False))
    return (out / "fused.jsonl").read_bytes()


def test_the_shipped_music_is_received_and_leaves_the_run_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = MUSIC.read_text("utf-8").replace("speed: 1", "speed: 40").replace("0.05", "1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(1)
        to = f"127.0.0.1:{peer.getsockname()[1]}"
        played = ran(tmp_path, "played", text.replace("127.0.0.1:9001", to))
        received = [OscMessage(peer.recv(100)) for _ in range(2)]
    assert [message.address for message in received] == ["/ure/velocity", "/ure/note_len"]
    velocity, length = (message.params[0] for message in received)
    assert 0 < velocity <= 127
    assert 0.1 <= length <= 1.2
    assert f"lumen: music plays: udp {to}\n" in capsys.readouterr().err
    assert played == ran(tmp_path, "silent", re.sub(r"send:\n(  .*\n)+", "", text))
