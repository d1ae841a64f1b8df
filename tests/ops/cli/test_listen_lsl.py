"""`lumen listen --lsl` and `lumen doctor` on a real LSL network."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from configs.load import load
from ops.__main__ import main
from ops.cli.doctor import connectors
from ops.cli.guess.lsl_streams import LslStreams
from ops.cli.listen import ListeningPort, configuration
from tests.support.lsl_sender import LslSender
from tests.support.waiting import until


@pytest.fixture
def senders() -> list[LslSender]:
    """Senders that end with the test."""
    begun: list[LslSender] = []
    yield begun
    for sender in begun:
        sender.end()


def test_streams_of_any_name_are_received_and_written(
    tmp_path: Path, senders: list[LslSender]
) -> None:
    name = f"my, EEG: {uuid4().hex[:12]}"
    senders.append(LslSender(name, channels=2, rate_hz=100.0, labels=["Fz", "Cz"], form="float32"))
    printed: list[str] = []
    listener = ListeningPort([], False, printed.append, lsl=LslStreams())
    try:

        def up() -> bool:
            listener.take()
            return any("is up" in line and name in line for line in printed)

        until(up)
        senders[0].load(100.0, 3.0)

        def received() -> bool:
            listener.take()
            counts = {c.name: c.events for c in listener.survey.channels.values()}
            mine = [n for channel, n in counts.items() if channel.endswith((":Fz", ":Cz"))]
            return len(mine) == 2 and min(mine) >= 300

        until(received)
    finally:
        listener.stop()
    assert not any("clock_offset" in c.name for c in listener.survey.channels.values())
    text = configuration(listener, listener.host())
    assert text is not None
    path = tmp_path / "c.yaml"
    path.write_text(text)
    (stream,) = (s for s in load(path).config.streams if getattr(s, "stream", "") == name)
    assert stream.wanted == {"name": name}
    assert stream.name == name.replace(", ", "_").replace(": ", "_")
    assert [(d.verdict, name in d.found) for d in connectors(load(path).config)] == [("ok", True)]


def test_of_two_streams_of_one_name_each_is_named_by_its_identifier(
    senders: list[LslSender],
) -> None:
    name = f"twin{uuid4().hex[:12]}"
    senders += [LslSender(name, source_id=side) for side in ("left", "right")]
    streams, found = LslStreams(), []
    until(lambda: found.extend(s for s in streams.look() if s.wanted["name"] == name) or found)
    until(lambda: found.extend(s for s in streams.look() if s.name.startswith(name)) or
          len(found) == 2)  # fmt: skip
    assert {stream.name for stream in found} == {name, f"{name}_2"}


def test_without_the_extra_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from configs import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert main(["listen", "--lsl"]) == 2
    assert capsys.readouterr().err == (
        "lumen listen: type lsl needs pip install 'lumen-fusion[lsl]'\n"
    )
