"""The configuration that listening ends with: what is in it, what is left out, what a stage has."""

from __future__ import annotations

from math import cos, sin
from pathlib import Path

import pytest

from configs.inputs import MidiStream, OscStream
from configs.load import load
from configs.outputs import OscDestination
from configs.schema import Config
from ops.cli.guess.channel_survey import ChannelSurvey
from ops.cli.guess.live_config import BACK, MAX_MEMBERS, StageGuess, destinations, found, written
from sources.inbox import Message

STREAMS = [
    OscStream(name="osc_1", addr="0.0.0.0:9000"),
    OscStream(name="osc_2", addr="0.0.0.0:9001"),
    MidiStream(name="midi_1", device="Keys"),
]
NOW = 4.0


def shaken(i: int) -> tuple[float, float, float]:
    size = 1 + 0.3 * sin(i / 9)
    return size * cos(i / 50), size * sin(i / 50), 0.0


def phones(*sources: str) -> ChannelSurvey:
    """Return what two phones and a keyboard send in four seconds."""
    survey = ChannelSurvey()
    for i in range(200):
        for source in sources:
            survey.take(source, Message(i / 50, "/acc", shaken(i)))
            survey.take(
                source, Message(i / 50, "/gravity", (0.6 * cos(i / 50), 0.6 * sin(i / 50), 0.8))
            )
            survey.take(source, Message(i / 50, "/battery", 0.87))
    for i in range(3):
        survey.take("midi_1", Message(float(i), "note/1/60", 90.0 * (i % 2)))
        survey.take("midi_1", Message(float(i), "cc/1/1", 40.0 * i))
    return survey


def configured(
    survey: ChannelSurvey,
    path: Path,
    stage: StageGuess | None,
    hosts: tuple[str, ...] = ("192.168.7.9",),
) -> tuple[Config, str]:
    text = written(found(survey, NOW, stage is not None), STREAMS, hosts, stage) or ""
    path.write_text(text, "utf-8")
    return load(path).config, text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "received.yaml"


def test_a_stage_compares_phones_by_size_whichever_way_they_are_held(path: Path) -> None:
    config, _ = configured(phones("osc_1", "osc_2"), path, StageGuess())
    assert list(config.signals["motion"].members) == ["osc_1:/acc", "osc_2:/acc"]
    assert config.signals["motion"].reference == "osc_1:/acc"
    assert config.channels["osc_1:/acc"].reduce == "norm"
    # Gravity turns and keeps its size: its parts are what changes.
    others = {m for name, s in config.signals.items() if name != "motion" for m in s.members}
    assert others == {f"osc_{n}:/gravity[{k}]" for n in (1, 2) for k in (0, 1)}


def test_a_stage_has_little_delay_a_page_and_goes_back_to_the_phone(path: Path) -> None:
    config, _ = configured(phones("osc_1", "osc_2"), path, StageGuess(back=8000))
    assert (config.resample.profile, config.align.wait_lag_s) == ("low_latency", 0.02)
    assert config.exporter is not None
    assert [(d.name, d.to) for d in config.send] == [
        ("sound", f"127.0.0.1:{BACK}"), ("back_1", "192.168.7.9:8000"),
    ]  # fmt: skip
    assert all(isinstance(d, OscDestination) and d.map == config.send[0].map for d in config.send)
    sent = config.send[0].map
    assert sent["/stage/motion"] == "clamp((motion - 0.7) / 0.6, 0, 1)"
    assert sent["/stage/trust"] == "clamp(sync_quality, 0, 1)"
    assert sent["/stage/fader"] == sent["/stage/cc_1_1"] == "cc_1_1 / 127"
    assert sent["/stage/note_1_60"] == "note_1_60 / 127"
    assert config.quality.signal == "motion"
    assert all("192.168.0.0/16" in s.allow for s in config.streams if isinstance(s, OscStream))


def test_without_a_stage_nothing_is_sent_and_arrays_stay_as_they_are(path: Path) -> None:
    config, _ = configured(phones("osc_1"), path, None)
    assert (config.send, config.exporter, config.resample.profile) == ([], None, "accurate")
    members = {m for s in config.signals.values() for m in s.members}
    assert {"osc_1:/acc[0]", "osc_1:/acc[1]"} <= members
    assert config.facts == ["midi_1:note/1/60", "midi_1:cc/1/1"]


@pytest.mark.parametrize("stage", [None, StageGuess()])
def test_a_constant_channel_is_left_out_and_listed(path: Path, stage: StageGuess | None) -> None:
    config, text = configured(phones("osc_1"), path, stage)
    used = {m for s in config.signals.values() for m in s.members} | set(config.facts)
    assert not {"osc_1:/battery", "osc_1:/acc[2]", "osc_1:/gravity[2]"} & used
    assert "# left out: osc_1:/battery is constant: 0.87 in 200 events\n" in text
    assert ("osc_1:/acc[2] is constant" in text) == (stage is None)  # its size is in use


def test_where_nothing_changes_nothing_is_written() -> None:
    survey = ChannelSurvey()
    for i in range(50):
        survey.take("osc_1", Message(i / 50, "/battery", 0.87))
    assert written(found(survey, NOW, False), STREAMS, (), None) is None


def test_streams_of_which_nothing_is_used_are_not_written(path: Path) -> None:
    config, _ = configured(phones("osc_2"), path, StageGuess())
    assert [s.name for s in config.streams] == ["osc_2", "midi_1"]


def test_names_with_signs_of_patterns_are_kept_as_names(path: Path) -> None:
    survey = ChannelSurvey()
    for i in range(200):
        survey.take("osc_1", Message(i / 50, "/a*", sin(i / 9)))
        survey.take("osc_1", Message(i / 50, "/b?", (sin(i / 9), cos(i / 8), sin(i / 7))))
        survey.take("osc_1", Message(i / 50, "/on*", float(i // 90 % 2)))
    for stage in (None, StageGuess()):
        config, _ = configured(survey, path, stage)
        members = {m for s in config.signals.values() for m in s.members}
        assert members == {"osc_1:/a*", "osc_1:/b?[0]", "osc_1:/b?[1]", "osc_1:/b?[2]"}
        assert config.facts == ["osc_1:/on*"]
        assert isinstance(stream := config.streams[0], OscStream) and stream.literal


def test_two_senders_to_one_port_are_sources_of_their_own(path: Path) -> None:
    config, _ = configured(phones("osc_1@10.0.0.5", "osc_1@10.0.0.6"), path, StageGuess())
    assert isinstance(stream := config.streams[0], OscStream) and stream.per_sender
    assert set(config.signals["motion"].members) == {"osc_1@10.0.0.5:/acc", "osc_1@10.0.0.6:/acc"}


def test_controls_alone_become_members_and_notes_facts(path: Path) -> None:
    survey = phones()
    config, _ = configured(survey, path, StageGuess(), hosts=())
    assert [list(s.members) for s in config.signals.values()] == [["midi_1:cc/1/1"]]
    assert config.channels["midi_1:cc/1/1"].kind == "held"
    assert config.facts == ["midi_1:note/1/60"]
    assert [d.name for d in config.send] == ["sound"]


def test_channels_beyond_the_limits_are_counted(path: Path) -> None:
    survey = phones("osc_1")
    for n in range(100):
        for i in range(2):
            survey.take("midi_1", Message(float(i), f"note/2/{n}", 90.0 * i))
    config, text = configured(survey, path, StageGuess())
    assert len(config.facts) == MAX_MEMBERS
    assert "# left out: 38 further channels" in text


def test_no_port_of_this_machine_is_sent_to() -> None:
    held = [OscStream(name="a", addr=f"0.0.0.0:{BACK}"), OscStream(name="b", addr=BACK + 1)]
    hosts = ["127.0.0.1", "192.0.2.77", "2001:db8::7", "fe80::1%eth0"]
    assert destinations(held, hosts, StageGuess()) == [
        ("sound", f"127.0.0.1:{BACK + 2}"), ("back_1", f"192.0.2.77:{BACK}"),
        ("back_2", f"[2001:db8::7]:{BACK}"),
    ]  # fmt: skip


def test_a_sender_beyond_private_networks_is_not_shut_out(path: Path) -> None:
    config, _ = configured(phones("osc_1"), path, StageGuess(), hosts=("203.0.113.9", "8.8.8.8"))
    assert isinstance(stream := config.streams[0], OscStream) and stream.allow == []
