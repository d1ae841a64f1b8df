"""Commands over the control socket: their user, their rig, bad ones, stale sockets."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.outputs import CONTROL
from operators.events import COMMAND_SOURCE
from sources.control import CommandSocket, command_socket, send
from sources.inbox import Commanded, Inbox, Item, Unread
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no Unix datagram sockets")


class Taken:
    """A control socket that receives into an inbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = Inbox(COMMAND_SOURCE)
        self.socket = CommandSocket(folder, "studio")
        self.log: list[str] = []
        self.socket.start(self.inbox)

    def wait(self) -> Taken:
        """Return it once the socket is there, or the reason why it is not."""
        until(lambda: (self.folder / CONTROL).is_socket() or self._lines())
        return self

    def _lines(self) -> bool:
        self.log += self.inbox.take_log()
        return bool(self.log)

    def stop(self) -> list[Item]:
        """Stop; return all items and keep all lines."""
        self.socket.stop()
        self._lines()
        return self.inbox.take()


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Taken]:
    made = Taken(tmp_path).wait()
    yield made
    made.socket.stop()


def raw(folder: Path, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect(str(folder / CONTROL))
        out.send(data)


def test_commands_arrive_in_order_with_the_user_of_their_sender(taken: Taken) -> None:
    import pwd

    before = taken.inbox.host()
    send(taken.folder, "bridge.rollback")
    send(taken.folder, "bridge.release", "studio")
    send(taken.folder, "bridge.release")
    items = taken.stop()

    by = pwd.getpwuid(os.geteuid()).pw_name
    assert [type(x) for x in items] == [Commanded] * 3
    assert [x[1:] for x in items] == [
        ("bridge.rollback", by),
        ("bridge.release", by),
        ("bridge.release", by),
    ]
    assert before <= items[0].rx <= items[1].rx <= items[2].rx
    assert taken.log[0] == f"bridge.rollback by {by}"


def test_the_socket_is_for_its_owner_and_is_removed_at_the_stop(taken: Taken) -> None:
    path = taken.folder / CONTROL
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert taken.socket.facts() == (str(path),)
    taken.stop()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        send(taken.folder, "bridge.release")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"command": "bridge.release"',
        b'{"command": "bridge.explode"}',
        b'{"command": 5}',
        b'{"command": "bridge.release", "rig": 5}',
        b'{"command": "bridge.release", "rig": "nowhere"}',
        b'{"command": "bridge.release", "rig": "\xff"}',
        b"[" * 3000,
        b'{"command": "bridge.release", "x": "' + b"x" * 5000 + b'"}',
    ],
)
def test_a_bad_datagram_is_one_loss_and_the_next_one_is_taken(taken: Taken, data: bytes) -> None:
    raw(taken.folder, data)
    send(taken.folder, "bridge.release")
    bad, good = taken.stop()

    assert isinstance(bad, Unread)
    assert (bad.reason, bad.sample, bad.events) == ("control", data[:256], 1)
    assert f"user {os.geteuid()}, process {os.getpid()}" == bad.where
    assert isinstance(good, Commanded)
    assert taken.log[0].startswith("a command is refused: ")


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode), st.booleans())
def test_no_datagram_raises(data: bytes, whole: bool) -> None:
    order, fault = CommandSocket(Path("out"), "studio").read(data, whole, os.geteuid())
    assert (order is None) == bool(fault)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name no sender")
def test_a_command_of_another_user_is_refused(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_socket.os, "geteuid", lambda: 123_456)
    send(taken.folder, "bridge.release")
    (refused,) = taken.stop()

    assert isinstance(refused, Unread)
    assert refused.reason == "control"
    assert "of another user" in taken.log[0]


def test_the_socket_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(str(tmp_path / CONTROL))
    made = Taken(tmp_path)
    until(lambda: works(tmp_path))
    items = made.stop()

    assert isinstance(items[0], Commanded)
    assert not (tmp_path / CONTROL).exists()


def works(folder: Path) -> bool:
    try:
        send(folder, "bridge.release")
    except OSError:
        return False
    return True


def test_the_socket_of_a_live_run_is_left_alone(taken: Taken) -> None:
    second = Taken(taken.folder).wait()
    until(second._lines)
    assert second.stop() == []
    assert "another run takes commands there" in second.log[0]

    send(taken.folder, "bridge.release")
    (command,) = taken.stop()
    assert isinstance(command, Commanded)


def test_a_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / CONTROL).write_text("mine")
    made = Taken(tmp_path)
    until(made._lines)
    assert made.stop() == []
    assert made.log == [
        f"the bridge takes no commands: {tmp_path / CONTROL}: the file is no socket"
    ]
    assert (tmp_path / CONTROL).read_text() == "mine"


def test_a_folder_that_refuses_the_socket_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(socket.socket):
        def bind(self, _: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(command_socket.socket, "socket", Refusing)
    made = Taken(tmp_path)
    until(made._lines)
    assert made.stop() == []
    assert made.log == [f"the bridge takes no commands: {tmp_path / CONTROL}: Permission denied"]


def test_a_folder_with_a_long_name_and_a_late_one_have_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("f" * 120)
    made = Taken(folder)
    folder.mkdir()
    until(lambda: works(folder))
    (command,) = made.stop()
    assert isinstance(command, Commanded)


def test_a_flood_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_socket, "_PAUSE_S", 0.0)
    made = Taken(tmp_path).wait()
    made.inbox.room = 5
    for _ in range(20):
        send(tmp_path, "bridge.release")
    items = made.stop()
    assert [type(x) for x in items] == [Commanded] * 5 + [Unread]
    assert (items[5].reason, items[5].events) == ("inbox_full", 15)
