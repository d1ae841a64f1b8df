"""First contact over loopback: received channels and the written configuration."""

from __future__ import annotations

import socket
import threading
import time
from math import cos, nan, sin
from pathlib import Path

import pytest

from configs.inputs import OscStream
from configs.load import load
from ops.__main__ import main
from ops.cli.listen import ListeningPort, configuration, listen, opening
from ops.fakes.ports import free_port
from ops.simulate.devices import bundle
from sources.inbox import Message
from tests.support.waiting import HUNG_S, until


class Ports:
    """MIDI ports, as a test has them."""

    def __init__(self, *present: str) -> None:
        self.present = present

    def look(self) -> tuple[tuple[str, ...], str]:
        return self.present, "" if self.present else "no port"

    def close(self) -> None:
        self.present = ()


def silent(*ports: str) -> ListeningPort:
    """Return a listener that receives the messages of a test."""
    printed: list[str] = []
    listener = ListeningPort([], bool(ports), printed.append, Ports(*ports))  # type: ignore[arg-type]
    listener.streams["osc_1"] = OscStream(name="osc_1", addr="127.0.0.1:9000")
    listener.take()
    return listener


def send_steadily(port: int, done: threading.Event) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        n = 0
        while not done.wait(0.01):
            data = bundle(time.time() - 9.0, [("/breath", (n % 7 / 7,)), ("/acc", (n % 5, -n % 6))])
            sender.sendto(data, ("127.0.0.1", port))
            n += 1


def test_two_senders_to_one_port_are_named() -> None:
    port = free_port()
    printed: list[str] = []
    listener = ListeningPort([f"127.0.0.1:{port}"], False, printed.append)

    def started() -> bool:
        listener.take()
        return bool(printed)

    until(started)
    data = bundle(time.time(), [("/breath", (1.0,))])
    for host in ("127.0.0.1", "127.0.0.2"):
        assert "is sent to" not in listener.report()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((host, 0))
            for _ in range(3):
                sender.sendto(data, ("127.0.0.1", port))
                time.sleep(0.1)
        listener.take()
    report = listener.report()
    assert "osc_1 has 2 senders (127.0.0.1, 127.0.0.2)" in report
    for host in ("127.0.0.1", "127.0.0.2"):
        assert listener.survey.channels[f"osc_1@{host}:/breath"].events == 3
    assert "osc_1:/breath" not in listener.survey.channels


@pytest.mark.parametrize("wrong", ["0", "65536", "phone", "1" * 5000])
def test_an_invalid_return_port_is_refused(wrong: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(["listen", "--stage", "--back", wrong])
    assert end.value.code == 2


def test_where_nothing_changes_that_is_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port, out, done = free_port(), tmp_path / "received.yaml", threading.Event()

    def still() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not done.wait(0.02):
                sender.sendto(bundle(0.0, [("/battery", (0.5,))]), ("127.0.0.1", port))

    sender = threading.Thread(target=still)
    sender.start()
    try:
        argv = ["listen", "--osc", f"127.0.0.1:{port}", "--seconds", "1.5", "--out", str(out)]
        assert main(argv) == 1
    finally:
        done.set()
        sender.join()
    printed = capsys.readouterr().out
    assert "left out: osc_1:/battery is constant: 0.5 in" in printed
    assert "Nothing is written: no number has changed." in printed
    assert not out.exists()


def test_received_channels_become_a_valid_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port, done, out = free_port(), threading.Event(), tmp_path / "received.yaml"
    sender = threading.Thread(target=send_steadily, args=(port, done))
    sender.start()
    try:
        argv = ["listen", "--osc", f"127.0.0.1:{port}", "--seconds", "2", "--out", str(out)]
        assert main(argv) == 0
    finally:
        done.set()
        sender.join()
    printed = capsys.readouterr().out
    assert printed.startswith(f"Opens UDP 127.0.0.1:{port}, for programs on this machine only.\n")
    breath = [line.split() for line in printed.splitlines() if line.startswith("osc_1:/breath")]
    assert breath[-1][-2:] == ["sampled", "yes"]
    config = load(out).config
    assert [s.name for s in config.streams] == ["osc_1"]
    assert {m for s in config.signals.values() for m in s.members} == {
        "osc_1:/breath", "osc_1:/acc[0]", "osc_1:/acc[1]",
    }  # fmt: skip
    assert main(["check", str(out)]) == 0


def test_no_event_writes_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "received.yaml"
    argv = ["listen", "--osc", f"127.0.0.1:{free_port()}", "--seconds", "0.3", "--out", str(out)]
    assert main(argv) == 1
    assert "no number was received" in capsys.readouterr().out
    assert not out.exists()


def test_a_file_that_is_there_is_not_overwritten_and_nothing_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "received.yaml"
    out.write_text("mine")
    assert main(["listen", "--osc", "127.0.0.1:9", "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert "exists already" in printed.err
    assert (printed.out, out.read_text()) == ("", "mine")


def test_a_port_that_is_held_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        addr = f"127.0.0.1:{holder.getsockname()[1]}"
        assert main(["listen", "--osc", addr, "--out", str(tmp_path / "x")]) == 2
    assert f"{addr} is taken by process" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["0", "70000", "phone:9000", "1.2.3.4.5:9000", "²"])
def test_an_invalid_port_is_refused(wrong: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(["listen", "--osc", wrong])
    assert end.value.code == 2


def test_the_network_is_opened_only_with_a_word_and_the_address_to_send_to() -> None:
    lines = opening(["0.0.0.0:9000"], midi=True)
    assert lines[0].startswith(
        "Opens UDP 0.0.0.0:9000 to the network: any host that reaches it can"
    )
    assert any(line.startswith("  send to 127.0.0.1:9000") for line in lines)
    assert lines[-1] == "Opens every MIDI port."
    assert "  send to 192.0.2.7:9000" in opening(["192.0.2.7:9000"], midi=False)


def test_held_channels_alone_are_members(tmp_path: Path) -> None:
    listener = silent()
    for i in range(3):
        listener.survey.take("osc_1", Message(float(i), "/fader", float(i)))
    path = tmp_path / "c.yaml"
    path.write_text(configuration(listener, 100.0) or "")
    config = load(path).config
    assert config.channels["osc_1:/fader"].kind == "held"
    assert [list(s.members) for s in config.signals.values()] == [["osc_1:/fader"]]


def test_a_held_channel_beside_sampled_ones_is_a_fact(tmp_path: Path) -> None:
    listener = silent("nanoKONTROL2:nanoKONTROL2 MIDI 1 20:0")
    for i in range(100):
        listener.survey.take("osc_1", Message(i / 50, "/x", sin(i / 9)))
    listener.survey.take("midi_1", Message(0.5, "cc/1/74", 5.0))
    path = tmp_path / "c.yaml"
    path.write_text(configuration(listener, 2.0) or "")
    config = load(path).config
    assert config.facts == ["midi_1:cc/1/74"]
    assert config.streams[1].device == "nanoKONTROL2:nanoKONTROL2 MIDI 1"  # type: ignore[union-attr]
    listener.stop()


@pytest.mark.parametrize("key", ["/a*", "/b?", "/${HOME}", '/q"uote', "/sl\\ash", "/#", "/a: b"])
def test_no_address_breaks_the_configuration(tmp_path: Path, key: str) -> None:
    listener = silent()
    for i in range(100):
        listener.survey.take("osc_1", Message(i / 50, "/x", sin(i / 9)))
        listener.survey.take("osc_1", Message(i / 50, key, cos(i / 9), nan))
    path = tmp_path / "c.yaml"
    path.write_text(configuration(listener, 2.0) or "")
    kept = {"osc_1:/x"} if "${" in key else {"osc_1:/x", f"osc_1:{key}"}
    assert {m for s in load(path).config.signals.values() for m in s.members} == kept


def test_devices_of_one_name_are_distinguished_by_number() -> None:
    listener = silent("pad:pad MIDI 1 20:0", "pad:pad MIDI 1 24:0", "key:key MIDI 1 28:0")
    devices = [s.device for s in listener.streams.values() if s.name.startswith("midi")]  # type: ignore[union-attr]
    assert devices == ["pad:pad MIDI 1 20:0", "pad:pad MIDI 1 24:0", "key:key MIDI 1"]
    listener.stop()


def test_a_stop_request_ends_listening_at_once() -> None:
    done = threading.Event()
    done.set()
    began = time.monotonic()
    listener = listen([f"127.0.0.1:{free_port()}"], False, None, done)
    assert time.monotonic() - began < HUNG_S
    assert listener.report() == "Nothing received yet."
