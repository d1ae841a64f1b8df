"""Where a stream listens, and which two cannot both."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.address import Listen, endpoint, overlap
from configs.document import ConfigError
from configs.inputs import FileStream, OscStream
from configs.load import load
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig

CONFIG = """version: 2
streams:
{streams}
signals: {{s: {{members: {{"{member}": {{group: sensors}}}}}}}}
"""


def checked(tmp_path: Path, *streams: str, member: str = "a:/x") -> list[OscStream]:
    path = tmp_path / "c.yaml"
    lines = [f"  - {{name: {chr(97 + i)}, type: osc, {s}}}" for i, s in enumerate(streams)]
    path.write_text(CONFIG.format(streams="\n".join(lines), member=member))
    return [s for s in load(path).config.streams if isinstance(s, OscStream)]


def faults(tmp_path: Path, *streams: str, member: str = "a:/x") -> str:
    with pytest.raises(ConfigError) as error:
        checked(tmp_path, *streams, member=member)
    return "\n".join(error.value.lines())


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("9000", (False, "0.0.0.0", 9000)),
        ('":9000"', (False, "0.0.0.0", 9000)),
        ('"127.0.0.1:9000"', (False, "127.0.0.1", 9000)),
        ('"[::]:9000"', (False, "::", 9000)),
        ('"tcp://127.0.0.1:9000"', (True, "127.0.0.1", 9000)),
        ('"tcp://:9000"', (True, "0.0.0.0", 9000)),
        ('"tcp://[::1]:9000"', (True, "::1", 9000)),
    ],
)
def test_each_form_of_an_address_is_accepted(
    tmp_path: Path, written: str, parts: tuple[bool, str, int]
) -> None:
    (stream,) = checked(tmp_path, f"addr: {written}")
    assert endpoint(stream.addr) == Listen(*parts)


@pytest.mark.parametrize("written", ["0", "70000", '"9000"', '"udp://a:9000"', '"a b:9000"', "no"])
def test_an_invalid_address_is_refused_in_words(tmp_path: Path, written: str) -> None:
    text = faults(tmp_path, f"addr: {written}")
    assert "tcp://0.0.0.0:9000" in text
    assert "^" not in text


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        ("0.0.0.0:9000", "127.0.0.1:9000", True),
        ("127.0.0.1:9000", "0.0.0.0:9000", True),
        ("[::]:9000", "127.0.0.1:9000", True),
        ("9000", "localhost:9000", True),
        ("localhost:9000", "127.0.0.1:9000", True),
        ("9000", "phone.local:9000", True),
        ("127.0.0.1:9000", "127.0.0.1:9001", False),
        ("127.0.0.1:9000", "127.0.0.2:9000", False),
        ("0.0.0.0:9000", "[::1]:9000", False),
        ("127.0.0.1:9000", "tcp://127.0.0.1:9000", False),
        ("239.255.0.7:9000", "239.255.0.8:9000", False),
    ],
)
def test_two_streams_that_cannot_both_be_bound_are_refused(
    tmp_path: Path, a: str, b: str, both: bool
) -> None:
    assert overlap(endpoint(a), endpoint(b)) is both
    streams = [f'addr: "{x}"' if ":" in x else f"addr: {x}" for x in (a, b)]
    if both:
        assert f"the address '{b}' is that of stream 'a'" in faults(tmp_path, *streams)
    else:
        assert len(checked(tmp_path, *streams)) == 2


def test_an_interface_goes_with_a_group(tmp_path: Path) -> None:
    group = checked(tmp_path, 'addr: "239.255.0.7:9000", interface: lo')
    assert group[0].interface == "lo"
    assert "beside a multicast group only" in faults(tmp_path, "addr: 9000, interface: lo")
    assert "is a multicast group" in faults(tmp_path, 'addr: "tcp://239.255.0.7:9000"')
    assert "expected an interface" in faults(tmp_path, 'addr: "[ff02::7]:9000"')
    assert checked(tmp_path, 'addr: "[ff02::7]:9000", interface: lo')


def test_timetags_are_judged_unless_they_are_to_be_used_or_ignored(tmp_path: Path) -> None:
    text = CONFIG.format(
        streams="  - {name: a, type: osc, addr: 9000}\n"
        "  - {name: b, type: osc, addr: 9001, timetags: use}\n"
        "  - {name: c, type: osc, addr: 9002, timetags: ignore}\n"
        "  - {name: d, type: osc, addr: 9003, per_sender: true}",
        member="a:/x",
    ) + 'facts: ["b:/x", "c:/x", "d@10.0.0.7:/x"]\n'  # fmt: skip
    (tmp_path / "c.yaml").write_text(text)
    assert load(tmp_path / "c.yaml").config.plan().timetags == {"a", "d@10.0.0.7"}


def test_the_replay_of_a_tape_judges_timetags_as_the_run_did(tmp_path: Path) -> None:
    for folder in ("tape", "folder"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tape" / "tape.json").write_text("{}")
    (tmp_path / "plain.ndjson").write_text("")
    members = {"a:/x": MemberConfig(), "pad:cc/1/1": MemberConfig()}
    found = [
        Config(
            version=2, streams=[FileStream(name="t", path=str(tmp_path / path))],
            signals={"s": SignalConfig(members=members)},
        ).plan().timetags
        for path in ("tape", "plain.ndjson")
    ]  # fmt: skip
    assert found == [{"a"}, frozenset()]


def test_a_member_of_one_sender_needs_a_stream_that_is_split(tmp_path: Path) -> None:
    member = "a@192.168.1.7:/x"
    assert checked(tmp_path, "addr: 9000, per_sender: true", member=member)
    assert "is no stream" in faults(tmp_path, "addr: 9000", member=member)
