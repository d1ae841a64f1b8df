import json
import time

import msgspec
import pytest

from configs.inputs import FileStream
from configs.schema import Config
from sources.inbox import FromSource, Inbox, Message, StreamChange, Unread
from sources.live import preflight
from sources.live.playback import Playback
from sources.replay.arrival_check import Arrivals
from sources.tape.writer import TapError
from tests.support.waiting import until

THEN, NOW = 1_600_000_000.0, 1_750_000_000.0


class Host:
    """The host's time, as a test sets it."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


def event(at, value, source="phone", key="/x", **meta):
    """Return a line of an event that arrived at a moment of the recording, sent 2.5 s earlier."""
    stamps = {"ts": THEN + at - 2.5, "meta": {"rx": THEN + at} | meta}
    return json.dumps({"source": source, "key": key, "value": value} | stamps)


@pytest.fixture
def player(tmp_path):
    """Return a function that plays lines and returns the items up to a moment."""
    running = []

    def play(*lines, began=None):
        path = tmp_path / "take.ndjson"
        path.write_text("".join(f"{line}\n" for line in lines))
        host, inbox = Host(), Inbox("take")
        stream = Playback(
            FileStream(name="take", path=str(path)), "studio", Arrivals(30.0), began, host
        )
        running.append(stream)
        stream.start(inbox)
        until(lambda: stream.began is not None)

        def items_by(at):
            host.now = NOW + at
            time.sleep(0.1)
            return inbox.take()

        return stream, items_by

    yield play
    for stream in running:
        stream.stop()


def values(items):
    return [
        x.item.value for x in items if isinstance(x, FromSource) and isinstance(x.item, Message)
    ]


def test_events_come_at_the_distance_at_which_they_were_recorded(player):
    _, items_by = player(event(0, 1.0), event(0.5, 2.0), event(20, 3.0))

    first, second = items_by(0.0)
    assert (first.up, second.item.rx) == (True, NOW)
    assert second.item.ts == THEN - 2.5
    assert values(items_by(0.49)) == []
    (later,) = items_by(0.505)
    assert (later.item.rx, later.item.ts, later.item.value) == (NOW + 0.5, THEN - 2.0, 2.0)
    assert values(items_by(19.9)) == []
    assert values(items_by(20.1)) == [3.0]


def test_a_played_event_keeps_its_source_its_number_and_its_kind(player):
    _, items_by = player(
        event(0, 1.5, seq=7), event(0, [1.0, None], key="/acc"), event(0, "go", "desk"),
        "no event", json.dumps({"ts": THEN, "source": "fader", "key": "/y", "value": 4.0}),
        event(0.1, 0.0),
    )  # fmt: skip

    up, *items = items_by(0.05)
    assert isinstance(up, StreamChange)
    played = [(x.source, *x.item[1:3]) for x in items if isinstance(x.item, Message)]
    assert played == [("phone", "/x", 1.5), ("phone", "/acc[0]", 1.0), ("desk", "/x", "go"),
                    ("fader", "/y", 4.0)]  # fmt: skip
    assert [x.item.seq for x in items if isinstance(x.item, Message)] == [7, -1, -1, -1]
    unstamped = items[-1].item
    assert unstamped.ts != unstamped.ts
    lost = [(x.source, x.item.reason) for x in items if isinstance(x.item, Unread)]
    assert lost == [("phone", "value"), ("?", "json")]


def test_events_arrive_at_their_due_time_after_a_standstill(player):
    _, items_by = player(*(event(i, float(i)) for i in range(40)))
    items_by(0.5)
    found = items_by(30.5)
    assert [x.rx for x in found] == [NOW + i for i in range(1, 31)]


def test_an_event_after_a_late_look_without_a_standstill_arrives_late(player):
    _, items_by = player(*(event(i / 10, float(i)) for i in range(40)))
    items_by(0.05)
    found = items_by(0.65)
    assert [x.rx for x in found] == [NOW + 0.65] * 6


def test_at_its_end_its_sources_go_down(player):
    _, items_by = player(event(0, 1.0, "phone"), event(0, 2.0, "desk"), event(1, 1.0))

    assert [x for x in items_by(0.5) if isinstance(x, StreamChange) and not x.up] == []
    *_, desk, phone, own = items_by(1.5)
    assert [(x.source, x.item.up) for x in (desk, phone)] == [("desk", False), ("phone", False)]
    assert not own.up
    assert own.why.endswith("played to its end")


def test_a_run_that_is_gone_on_with_goes_on_in_it(player):
    lines = [event(i, float(i)) for i in range(100)]
    first, items_by = player(*lines)
    items_by(10.2)
    began = first.began
    first.stop()
    _, items_by = player(*lines, began=began - 60)

    items_by(0.5)
    assert values(items_by(3.1)) == [61.0, 62.0, 63.0]


def test_a_recording_that_is_gone_is_down_and_no_more(tmp_path):
    inbox = Inbox("take")
    stream = Playback(
        FileStream(name="take", path=str(tmp_path / "gone.ndjson")), "studio", Arrivals(30.0)
    )
    stream.start(inbox)
    time.sleep(0.1)
    stream.stop()

    (down,) = inbox.take()
    assert not down.up
    assert "recording not found" in down.why


def test_a_recording_of_a_source_that_is_live_is_refused(tmp_path):
    path = tmp_path / "take.ndjson"
    path.write_text(event(0, 1.0, "osc_1") + "\n")
    streams = [{"name": "take", "type": "file", "path": str(path)},
               {"name": "osc_1", "type": "osc", "addr": "127.0.0.1:0"}]  # fmt: skip
    signals = {"pulse": {"members": {"osc_1:/x": {}}}}
    config = msgspec.convert({"version": 2, "streams": streams, "signals": signals}, Config)

    with pytest.raises(TapError) as refused:
        preflight(config)
    assert refused.value.exit_code == 2
    assert refused.value.lines() == [
        f"lumen: take: {path} holds events of 'osc_1', which is a live stream too:"
        " give that another name"
    ]
