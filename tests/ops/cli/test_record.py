"""The tap alone: what comes is on the tape, and on nothing else."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from ops.__main__ import main
from ops.cli.record import record
from ops.fakes.ports import free_port
from ops.simulate.devices import bundle
from sources.host.shutdown import Shutdown
from sources.opening import head
from sources.tape.reader import read_manifest


def config(folder: Path, port: int, more: str = "") -> Path:
    path = folder / "live.yaml"
    path.write_text(
        f"""version: 2
streams: [{{name: a, type: osc, addr: "127.0.0.1:{port}", keys: [/x]}}]
signals: {{s: {{members: {{"a:/x": {{}}}}}}}}
output: {{dir: {folder}/out}}
{more}"""
    )
    return path


def send_numbers(port: int, count: int) -> threading.Thread:
    """Send `count` numbers, and as many messages that are not wanted and that are none."""

    def run() -> None:
        time.sleep(0.5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for i in range(count):
                stamp = time.time() - 9.0
                for data in (bundle(stamp, [("/x", (i,))]), bundle(stamp, [("/y", (0,))]), b"no"):
                    sender.sendto(data, ("127.0.0.1", port))
                time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_received_events_are_on_the_tape_and_counted(tmp_path: Path) -> None:
    port = free_port()
    path = config(tmp_path, port, f"tap: {{dir: {tmp_path}/tap}}\n")
    sender = send_numbers(port, 100)
    tape, count = record(path, Shutdown(), seconds=2.0)
    sender.join()

    assert tape is not None
    assert tape.parent == tmp_path / "tap"
    assert count.events == {"a:/x": 100}
    assert sum(count.rejected.values()) == 200
    lines = [json.loads(line) for line in head(str(tape), 1 << 20).splitlines()]
    assert [x["value"] for x in lines if "value" in x] == list(range(100))
    assert all(x["ts"] < x["meta"]["rx"] - 8.9 for x in lines if "value" in x)
    assert any("tick" in x for x in lines)
    assert read_manifest(tape).ended
    assert not (tmp_path / "out").exists()


def test_a_tape_is_replayed_like_any_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    sender = send_numbers(port, 40)
    argv = ["--seconds", "1.5", "--out", str(tmp_path / "tapes")]
    assert main(["record", str(config(tmp_path, port)), *argv]) == 0
    sender.join()
    tape = capsys.readouterr().out.split()[-1]
    assert main(["replay", tape, "--out", str(tmp_path / "again")]) == 0
    run = json.loads((tmp_path / "again" / "run.json").read_text())
    assert run["account"]["by_source"]["a"]["received"] >= 40
    assert run["balanced"]


def test_a_configuration_without_a_live_stream_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused(["record", "configs/fusion.yaml"]) == 2
    assert "configs/fusion.yaml: no live stream" in capsys.readouterr().err


def test_a_port_that_another_run_has_is_refused_and_no_tape_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        path = config(tmp_path, holder.getsockname()[1])
        assert refused(["record", str(path), "--out", str(tmp_path / "tap")]) == 2
    assert "is taken by process" in capsys.readouterr().err
    assert not (tmp_path / "tap").exists()


def refused(argv: list[str]) -> object:
    with pytest.raises(SystemExit) as end:
        main(argv)
    return end.value.code
