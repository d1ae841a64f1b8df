"""Results as LSL streams, received by real inlets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import numpy as np
import pytest

from configs.connectors.lsl import LslDestination, LslStream
from operators.records import Fused, FusedSignal, Packet
from operators.settings.plan import Member, Plan, Signal
from operators.types import MODES
from sinks.send.lsl_output import MAX_RIGS, LslSender, TickAxis
from sources.header.xml_header import HeaderTexts
from sources.host.host_clock import HostClock
from sources.lsl.network import resolved
from tests.support.lsl_sender import ROOT
from tests.support.waiting import until

assert ROOT  # the network of the tests is set up before LSL is used
NAN = float("nan")
Senders = list[LslSender]


@pytest.fixture
def senders() -> Iterator[Senders]:
    """Destinations that end with the test."""
    begun: Senders = []
    yield begun
    for sender in begun:
        sender.stop()


def packet(rig: str, *ts: float, value: float = 1.0, mode: int = 0) -> Packet:
    n = len(ts)
    signal = FusedSignal(
        name="level", channels=("m:a",), value=np.full(n, value), sd=np.full(n, 0.25),
        systematic_sd=np.full(n, NAN), mode=np.full(n, mode), live=np.ones(n, np.int64),
        weights=np.ones((n, 1)),
    )  # fmt: skip
    nothing = np.empty((n, 0))
    fused = Fused(
        ts=np.array(ts), released=np.array(ts), mode=np.full(n, mode), live=np.ones(n, np.int64),
        signals=(signal,), indicators=nothing, measured=nothing, reported=nothing, facts=nothing,
        fact_names=(), sync_bound_s=np.full(n, NAN), sync_estimate_bound_s=np.full(n, NAN),
    )  # fmt: skip
    return Packet(rig, ts[-1] if ts else 0.0, False, np.empty(0), fused=fused)


def sender(senders: Senders, axis: TickAxis) -> tuple[LslSender, str]:
    name = f"o{uuid4().hex[:12]}"
    signal = Signal("level", (Member("level", "m:a", "sensors"),), "auto", "consensus")
    plan = Plan(rig="stage", signals=(signal,))
    one = LslSender(LslDestination(name=name), plan, axis)
    one.start()
    senders.append(one)
    return one, name


def inlet(name: str):
    """Return an inlet of the one stream of a name."""
    from pylsl import StreamInlet

    found: list = []
    until(lambda: found.extend(resolved({"name": name}, at_least=1)) or found)
    made = StreamInlet(found[0], recover=False)
    made.open_stream(30.0)
    return made


def test_a_tick_is_a_sample_of_values_sds_and_mode_at_its_time(senders: Senders) -> None:
    from pylsl import local_clock

    host = HostClock()
    one, name = sender(senders, TickAxis(host))
    one.take(packet("stage", host()))
    made = inlet(f"{name}-stage")
    ticks = [host() - 2.0 + i / 10 for i in range(3)]
    one.take(packet("stage", *ticks[:2], value=3.5, mode=3))
    one.take(packet("stage", ticks[2], value=NAN, mode=4))
    got: list = []

    def received() -> bool:
        rows, stamps = made.pull_chunk(0.1)
        got.extend(zip(stamps, rows, strict=True))
        return len(got) >= 3

    until(received)
    assert [row[:2] for _, row in got[:2]] == [[3.5, 0.25]] * 2
    assert got[2][1][0] != got[2][1][0]
    assert [MODES[int(row[2])] for _, row in got] == [MODES[3], MODES[3], MODES[4]]
    ahead = host() - local_clock()
    assert [stamp + ahead for stamp, _ in got] == pytest.approx(ticks, abs=0.005)
    info = made.info(30.0)
    labels = [each["label"] for each in HeaderTexts(info.as_xml().encode()).channels]
    assert labels == ["level", "level_sd", "mode"]
    assert info.source_id() == f"lumen-fusion/{name}/stage"
    assert info.type() == "Fused"


def test_each_rig_has_a_stream_whatever_its_name(senders: Senders) -> None:
    one, name = sender(senders, TickAxis(None))
    for rig in ("a'b\"<&", "b\x1b[2J"):
        one.take(packet(rig, 1.0))
    assert inlet(f"{name}-a'b\"<&").info(30.0).source_id().endswith("a'b\"<&")
    assert inlet(f"{name}-b\\x1b[2J").info(30.0).name() == f"{name}-b\\x1b[2J"


def test_rigs_beyond_the_limit_are_counted_with_one_line(
    senders: Senders, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sinks.send.lsl_output.MAX_RIGS", 1)
    one, _ = sender(senders, TickAxis(None))
    for rig in ("a", "b", "c", "b"):
        one.take(packet(rig, 1.0))
    until(lambda: one.missed == 3)
    one.stop()
    assert capfd.readouterr().err.count("does not send") == 1
    assert MAX_RIGS == 64


def test_a_flow_never_waits_for_streams_that_are_being_made(senders: Senders) -> None:
    """Not started: nothing is taken from the queue."""
    name = f"o{uuid4().hex[:12]}"
    one = LslSender(LslDestination(name=name), Plan(rig="stage", signals=()), TickAxis(None))
    for _ in range(200):
        one.take(packet("stage", 1.0))
    one.take(packet("stage"))
    assert one.missed == 200 - 64
    one.stop()


def test_a_replay_keeps_the_distances_of_its_ticks_at_its_speed() -> None:
    moments = iter([100.0])
    axis = TickAxis(None, 4.0, lambda: next(moments))
    assert axis.stamps(np.array([7.0, 8.0])).tolist() == [99.75, 100.0]
    assert axis.stamps(np.array([12.0])).tolist() == [101.0]


def test_a_stop_pushes_what_waits_and_closes_the_stream(senders: Senders) -> None:
    one, name = sender(senders, TickAxis(None))
    one.take(packet("stage", 1.0))
    made = inlet(f"{name}-stage")
    got: list = []

    def receive() -> None:
        with suppress(RuntimeError):  # the stream is closed
            while True:
                got.extend(made.pull_chunk(0.05)[0])

    reader = threading.Thread(target=receive)
    reader.start()
    one.take(packet("stage", 2.0, value=9.0))
    one.stop()
    reader.join()
    assert [row[0] for row in got] == [9.0]
    assert not one._thread.is_alive()
    until(lambda: not resolved({"name": f"{name}-stage"}))


@pytest.mark.parametrize(
    ("stream", "taken"),
    [
        ({"stream": "out-stage"}, True),
        ({"stream": "out"}, False),
        ({"stream_type": "Fused"}, True),
        ({"stream_type": "EEG"}, False),
        ({"stream": "out-a", "stream_type": "EEG"}, False),
        ({"source_id": "lumen-fusion/out/b"}, True),
        ({"source_id": "device"}, False),
        ({}, False),
    ],
)
def test_an_input_that_may_take_the_results_is_known(stream: dict, taken: bool) -> None:
    assert LslDestination(name="out").sends_to(LslStream(name="in", **stream)) is taken
