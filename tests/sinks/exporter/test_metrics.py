import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from configs.inputs import FileStream, MidiStream, OscStream, UreStream
from configs.schema import Config
from configs.signals import MemberConfig, SignalConfig
from operators.lines import SyncReport
from operators.records import DeadLetter
from sinks.exporter.metrics import FAMILIES, MetricsPage
from tests.support.shown import NAN, Time, config, events, packet, ticks


@pytest.fixture
def time():
    return Time()


def samples(text):
    """Return the samples of a page by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.items())] = sample.value
    return found


def of(found, name, **labels):
    return found.get((name, *sorted({"rig": "r", **labels}.items())))


def page(board):
    return samples(MetricsPage(board).text())


def report(channel="osc_1:p", **given):
    fields = dict.fromkeys(SyncReport.__struct_fields__) | {
        "ts": 1.0, "rig": "r", "channel": channel, "why": "hop", "state": "live",
        "clock_resets": 0, "received": 1, "used": 1, "outliers": 0, "late": 0, "duplicate": 0,
        "rejected": 0, "gaps": 0,
    }  # fmt: skip
    return SyncReport(**(fields | given))


def test_the_newest_tick_is_shown(time):
    board = time.board()
    board.update([packet(ticks(0, 5, coherence=0.2)), packet(ticks(5, 2, coherence=0.9, mode=1))])
    found = page(board)
    assert of(found, "fusion_coherence_level") == 0.9
    assert of(found, "fusion_signal_value", signal="pulse") == 2.0
    assert of(found, "fusion_channel_weight", signal="pulse", channel="ure:p") == 0.75
    assert of(found, "fusion_mode", mode="ure_only") == 1
    assert of(found, "fusion_mode", mode="fused") == 0
    assert of(found, "fusion_ticks_total", mode="fused") == 5
    assert of(found, "fusion_last_tick_timestamp_seconds") == 6
    assert of(found, "fusion_sync_error_bound_seconds") == 0.002
    assert of(found, "fusion_sync_estimate_bound_seconds") == 0.001


def test_an_unknown_value_has_no_sample(time):
    board = time.board()
    board.update([packet(ticks(0, phase_diff=NAN), sync=(report(lag_s=None, offset_s=-1.5),))])
    found = page(board)
    assert of(found, "fusion_phase_diff_mean") is None
    assert of(found, "fusion_lag_seconds", channel="osc_1:p") is None
    assert of(found, "fusion_clock_offset_seconds", channel="osc_1:p") == -1.5
    assert not any(math.isnan(value) for value in found.values())


def test_before_the_first_tick_nothing_looks_healthy(time):
    found = page(time.board())
    assert not any(name.startswith(("fusion_mode", "fusion_sync_q")) for name, *_ in found)
    assert of(found, "fusion_stream_expected", stream="ure") == 1
    assert of(found, "fusion_stream_up", stream="ure") == 0
    assert of(found, "fusion_stream_ingest_total", stream="ure") == 0


def test_ages_grow_without_updates(time):
    board = time.board()
    board.update([packet(ends=events("osc_1"))])
    shown = MetricsPage(board)
    shown.text()
    time.now += 42
    found = samples(shown.text())
    assert of(found, "fusion_stream_age_seconds", stream="osc_1") == 42
    assert of(found, "fusion_stream_age_seconds", stream="ure") == 42


def test_every_event_has_its_end_and_every_loss_its_reason(time):
    board = time.board()
    letter = DeadLetter(1.0, "receive", "osc", "osc_1", "", "", 3)
    lost = events("osc_1", 2, "late") + events("osc_1", 4, "outliers")
    more = events("osc_1", 3, "rejected", channel="")
    for _ in range(2):
        board.update([packet(ends=events("osc_1", 5) + lost + more, letters=(letter,))])
    found = page(board)
    assert of(found, "fusion_stream_ingest_total", stream="osc_1") == 28
    ends = {end: of(found, "fusion_events_total", stream="osc_1", end=end)
            for end in ("used", "late", "outliers", "rejected", "duplicate")}  # fmt: skip
    assert ends == {"used": 10, "late": 4, "outliers": 8, "rejected": 6, "duplicate": 0}
    assert of(found, "fusion_events_discarded_total", stage="receive", reason="osc") == 6
    assert of(found, "fusion_events_discarded_total", stage="guard", reason="outlier") == 8


def test_names_in_the_data_add_no_series(time):
    board = time.board()
    board.update([packet(ticks(0), ends=events("osc_1"))])
    before = page(board)
    for i in range(200):
        strange = events(f's{i}\n"', end="ignored", channel="") + events("", end="rejected")
        board.update([packet(ticks(i), ends=strange, rig="r" if i % 2 else f"rig{i}")])
    after = page(board)
    assert after.keys() == before.keys()
    assert of(after, "fusion_stream_ingest_total", stream="*") == 100
    assert of(after, "fusion_stream_ingest_total", stream="?") == 100
    assert of(after, "fusion_stream_ingest_total", stream="*", rig="*") == 100


def test_a_stream_is_up_by_its_status(time):
    board = time.board()
    board.update([packet(turned=(("ure", 1.0, True), ("osc_1", 1.0, True)))])
    board.update([packet(turned=(("ure", 2.0, False),))])
    time.now += 10
    failed = events("ure", 3, "rejected", channel="")
    board.update([packet(ends=failed)])
    found = page(board)
    assert of(found, "fusion_stream_up", stream="osc_1") == 1
    assert of(found, "fusion_stream_up", stream="ure") == 0
    assert of(found, "fusion_stream_age_seconds", stream="ure") == 10, "a failure is no event"
    board.update([packet(turned=(("ure", 3.0, True),), ends=events("ure"))])
    found = page(board)
    assert of(found, "fusion_stream_up", stream="ure") == 1
    assert of(found, "fusion_stream_age_seconds", stream="ure") == 0
    assert of(found, "fusion_stream_last_event_timestamp_seconds", stream="ure") == 100


def test_the_sources_of_a_recording_are_up_after_an_event(time):
    board = time.board(config(live=False))
    board.update([packet(ends=events("osc_1"))])
    found = page(board)
    assert of(found, "fusion_stream_up", stream="osc_1") == 1
    assert of(found, "fusion_stream_up", stream="ure") == 0
    assert of(found, "fusion_stream_expected", stream="demo") is None


def beside() -> Config:
    """An engine beside a recording of `osc_1`."""
    members = {"ure:p": MemberConfig(group="ure"), "osc_1:p": MemberConfig()}
    return Config(
        version=2, rig="r", signals={"pulse": SignalConfig(members=members)},
        streams=[
            UreStream(name="ure", metrics_url="http://127.0.0.1:9305/"),
            FileStream(name="demo", path="demo.ndjson", speed=1.0),
        ],
    )  # fmt: skip


def test_a_recording_that_has_ended_is_expected_no_more(time):
    board = time.board(beside())
    board.update([packet(turned=(("demo", 1.0, True), ("ure", 1.0, True)), ends=events("osc_1"))])
    found = page(board)
    assert of(found, "fusion_stream_expected", stream="osc_1") == 1
    assert of(found, "fusion_stream_ended", stream="osc_1") == 0
    board.update([packet(turned=(("osc_1", 2.0, False), ("demo", 2.0, False)))])
    found = page(board)
    assert of(found, "fusion_stream_expected", stream="osc_1") == 0
    assert of(found, "fusion_stream_ended", stream="osc_1") == 1
    assert of(found, "fusion_stream_expected", stream="ure") == 1
    assert of(found, "fusion_stream_ended", stream="ure") == 0
    board.update([packet(ends=events("osc_1"))])
    assert of(page(board), "fusion_stream_expected", stream="osc_1") == 1


def test_a_device_that_goes_down_has_not_ended(time):
    board = time.board(beside())
    down = (("ure", 2.0, False), ("osc_1", 2.0, False))
    board.update([packet(turned=down, ends=events("osc_1"))])
    found = page(board)
    assert of(found, "fusion_stream_expected", stream="osc_1") == 1
    assert of(found, "fusion_stream_ended", stream="osc_1") == 0
    board.update([packet(turned=(("demo", 3.0, False),))])
    found = page(board)
    assert of(found, "fusion_stream_expected", stream="ure") == 1
    assert of(found, "fusion_stream_ended", stream="ure") == 0


def test_a_held_source_may_be_silent(time):
    streams = [
        OscStream(name="osc_1", addr="127.0.0.1:9000"), MidiStream(name="midi_1", device="pad"),
        UreStream(name="ure", metrics_url="http://127.0.0.1:9305/"),
    ]  # fmt: skip
    members = {"osc_1:/p": MemberConfig(), "midi_1:cc/1/1": MemberConfig()}
    signals = {"pulse": SignalConfig(members=members)}
    rig = Config(version=2, streams=streams, signals=signals, facts=["ure:f"], rig="r")
    found = page(time.board(rig))
    expected = {
        s: of(found, "fusion_stream_expected", stream=s) for s in ("osc_1", "midi_1", "ure")
    }
    assert expected == {"osc_1": 1, "midi_1": 0, "ure": 1}


def test_lateness_is_that_of_blocks_and_machine(time):
    board = time.board()
    time.wall = 10.52
    board.update([packet(ticks(10, released=0.5)), packet(ticks(10, released=-3))])
    found = page(board)
    name = "fusion_tick_lateness_seconds"
    counts = [of(found, f"{name}_bucket", le=le) for le in ("0.01", "0.025", "2.5", "5.0", "+Inf")]
    assert counts == [0, 1, 1, 2, 2]
    assert of(found, f"{name}_count") == 2
    assert of(found, f"{name}_sum") == pytest.approx(3.54)


def test_a_replay_is_never_late(time):
    board = time.board(config(live=False))
    board.update([packet(ticks(10))])
    assert of(page(board), "fusion_tick_lateness_seconds_count") == 0


def test_the_page_is_made_once_a_version(time, monkeypatch):
    from sinks.exporter import metrics

    made = []
    monkeypatch.setattr(metrics, "_lateness", lambda board, real=metrics._lateness: (
        made.append(1), real(board))[1])  # fmt: skip
    board = time.board()
    shown = MetricsPage(board)
    for _ in range(3):
        board.update([packet(ticks(0)), packet(ticks(1))])
        shown.text()
        shown.text()
    assert len(made) == 3


def test_names_follow_the_rules_of_prometheus(time):
    board = time.board()
    board.update([packet(ticks(0), sync=(report(),))])
    for family in text_string_to_metric_families(MetricsPage(board).text().decode()):
        assert family.documentation
        for sample in family.samples:
            assert "rig" in sample.labels
            assert sample.name.endswith("_total") == (family.type == "counter")
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
