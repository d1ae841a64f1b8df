"""Packets of samples: rate over time, usual silences, packet length, and their effect."""

from __future__ import annotations

import json

import numpy as np
import pytest

from operators.drift import Drift
from operators.drift.packet_rate import PacketRate, Packets
from operators.records import Packet
from operators.settings.plan import Plan
from operators.types import F64
from ops.__main__ import main
from ops.fakes.xdf_files import XdfFileStream, regular, write
from tests.support.json_lines import json_lines
from tests.support.signals import START, block, known, plan

RATE = 50.0
TIME = START + np.arange(6000) / RATE


def packed(time: F64, every_s: float, step_s: float = 1e-4) -> F64:
    """Return arrivals of samples that are handed over each `every_s`, `step_s` apart."""
    number = np.floor((time - START) / every_s + 1e-9)
    first = np.searchsorted(number, number)
    return np.asarray(START + (number + 1) * every_s + (np.arange(len(time)) - first) * step_s)


def fed(arrival: F64, host: F64 | None = None, cuts: tuple[int, ...] = ()) -> list[PacketRate]:
    core, out = Packets(), []
    host = arrival if host is None else host
    for a, b in zip((0, *cuts), (*cuts, len(arrival)), strict=True):
        out += core.feed(arrival[a:b], host[a:b], arrival[a:b])[1]
        core = Packets.from_snapshot(core.snapshot())
    return out


@pytest.mark.parametrize("every_s", [0.1, 0.25, 0.9, 2.0])
@pytest.mark.parametrize("even", [True, False])
def test_the_rate_is_samples_over_time_and_silences_are_between_packets(
    every_s: float, even: bool
) -> None:
    arrival = packed(TIME, every_s)
    last = fed(arrival, TIME if even else arrival)[-1]
    assert last.rate_hz == pytest.approx(RATE, rel=0.02)
    assert last.quiet_s == pytest.approx(min(3 * every_s, 5.0), rel=0.05)
    inside = np.ceil(every_s * RATE - 1e-9) / RATE - 1 / RATE
    assert last.length_s == pytest.approx(inside if even else 0.0, abs=0.021)


def test_samples_that_come_alone_are_packets_of_one() -> None:
    jitter = np.random.default_rng(0).exponential(0.003, len(TIME))
    last = fed(TIME + jitter, TIME)[-1]
    assert last.rate_hz == pytest.approx(RATE, rel=0.01)
    assert last.quiet_s == pytest.approx(3 / RATE, rel=0.4)
    assert last.length_s == 0.0


def test_a_pause_that_comes_again_is_usual_and_one_alone_is_not() -> None:
    def paused(*begins: float) -> float:
        hold = TIME.copy()
        for begin in begins:
            inside = (START + begin <= TIME) & (START + begin + 0.4 > TIME)
            hold[inside] = START + begin + 0.4 + np.arange(inside.sum()) * 1e-4
        return fed(hold, TIME)[-1].quiet_s

    assert paused() == paused(100.0) == pytest.approx(0.06)
    assert paused(80.0, 110.0) == pytest.approx(1.5 * 0.42, rel=0.05)
    assert paused(10.0, 110.0) == pytest.approx(0.06)


def test_nothing_is_known_before_eight_silences_and_a_second() -> None:
    slow = fed(packed(TIME, 0.5), TIME)
    moments = [p.watermark for p in slow if p.rate_hz > 0]
    assert moments[0] - START > 8 * 0.5
    quick = fed(START + np.arange(3000) / 1000)
    assert next(p.watermark for p in quick if p.rate_hz > 0) - START >= 1.0


def test_an_outage_leaves_rate_and_silence_as_they_were() -> None:
    time = TIME[(TIME < START + 50) | (TIME > START + 90)]
    last = fed(time)[-1]
    assert last.rate_hz == pytest.approx(RATE, rel=0.01)
    assert last.quiet_s == pytest.approx(0.06, rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_pieces_give_the_result_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrival = packed(TIME, float(rng.choice([0.02, 0.3, 1.1]))) + rng.exponential(0.002, len(TIME))
    cuts = tuple(sorted(rng.integers(0, len(TIME), 300).tolist()))
    whole, pieces = fed(arrival, TIME), fed(arrival, TIME, cuts)
    assert np.array_equal(np.array(whole), np.array(pieces), equal_nan=True)


@pytest.mark.parametrize(
    "time", [np.zeros(300), np.full(200, START), np.sort(TIME)[::-1], TIME[:5]]
)
def test_no_stamps_raise(time: F64) -> None:
    for pace in fed(time):
        assert not pace.quiet_s > 5.0
        assert pace.length_s <= 10.0


def drifted(p: Plan, every_s: float) -> tuple[int, int]:
    """Return how many rows leave, and how many are late, of packets each so many seconds."""
    arrival = packed(TIME, every_s)
    core, left, late = Drift(p), 0, 0
    for a, b in zip(range(0, 6000, 500), range(500, 6500, 500), strict=True):
        part = slice(a, b)
        rows = block(
            "osc_1:/pulse",
            TIME[part],
            np.ones(500),
            arrival=arrival[part],
            watermark=np.append(arrival[a - 1] if a else START, arrival[part][:-1]),
            stamped=np.ones(500, bool),
            source_time=TIME[part],
        )
        out = core.update(
            Packet("studio", float(arrival[b - 1]), b == 6000, arrival[part], (rows,))
        )
        left += sum(len(x) for x in out.blocks)
        late += sum(len(e.watermark) for e in out.ends if e.end == "late")
    return left, late


def test_rows_of_long_packets_are_not_late_once_their_length_is_known() -> None:
    p = plan((known("osc_1:/pulse"),), half_width_s=0.5, wait_s=0.1)
    left, late = drifted(p, 1.5)
    assert left + late == len(TIME)
    # The first of each packet, for the first dozen of packets.
    assert late <= 12 * 0.4 * RATE
    eager = plan((known("osc_1:/pulse"),), half_width_s=0.5, wait_s=0.1, eager=True)
    assert drifted(eager, 1.5)[1] > 0.2 * len(TIME)


def test_reports_of_a_run_name_the_channel() -> None:
    rows = block("osc_1:/pulse", TIME[:640], np.ones(640))
    p = plan((known("osc_1:/pulse"),))
    out = Drift(p).update(Packet("studio", float(TIME[639]), False, TIME[:640], (rows,)))
    assert {r.channel for r in out.paces} == {"osc_1:/pulse"}
    assert out.paces[-1].rate_hz == pytest.approx(RATE)


def config(name: str, profile: str, hz: float) -> str:
    return (
        f"version: 2\nstreams: [{{name: a, type: file, path: {name}}}]\nsignals: {{s: {{members: "
        f"{{'phone:/a': {{}}}}}}}}\nresample: {{target_hz: {hz}, profile: {profile}}}\n"
        "output: {dir: out}\n"
    )


def recorded(tmp_path, stamp: F64, arrival: F64) -> None:
    wave = np.sin(stamp * 1.3) + np.sin(stamp * 2.9)
    lines = [
        json.dumps({"ts": s - 37, "source": "phone", "key": "/a", "value": v, "meta": {"rx": a}})
        for s, a, v in zip(stamp.tolist(), arrival.tolist(), wave.tolist(), strict=True)
    ]
    (tmp_path / "a.ndjson").write_text("\n".join(lines) + "\n")


def run(tmp_path, profile: str, hz: float):
    """Return the share of ticks with a value, and the last sync line."""
    (tmp_path / "a.yaml").write_text(config("a.ndjson", profile, hz))
    assert main(["run", "a.yaml"]) == 0
    ticks = json_lines(tmp_path / "out/fused.jsonl")
    sync = json_lines(tmp_path / "out/sync.jsonl")
    return np.mean([t["signals"]["s"]["value"] is not None for t in ticks]), sync[-1]


@pytest.mark.parametrize(("every_s", "least"), [(5.0, 0.85), (9.0, 0.92), (30.0, 0.97)])
def test_a_radio_that_sleeps_costs_its_sleep(tmp_path, monkeypatch, every_s, least):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(int(every_s))
    into = (TIME - START) % every_s
    arrival = TIME + 0.004 + rng.random(len(TIME)) * 0.002
    held = into < 0.2
    arrival[held] = (TIME - into + 0.204)[held] + np.arange(held.sum()) % 10 * 1e-4
    recorded(tmp_path, TIME, arrival)
    assert run(tmp_path, "low_latency", 20.0)[0] >= least
    assert run(tmp_path, "accurate", 20.0)[0] >= 0.999


@pytest.mark.parametrize(("every_s", "hz"), [(0.25, 20.0), (1.5, 20.0), (2.5, 10.0)])
def test_ticks_of_accurate_wait_for_packets(tmp_path, monkeypatch, every_s, hz):
    """Packets longer than the kernel: without the wait their rows would be late."""
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path, TIME, packed(TIME, every_s))
    share, last = run(tmp_path, "accurate", hz)
    assert last["used"] + last["outliers"] >= 0.99 * len(TIME) - 8 * every_s * RATE
    assert share >= 0.99 - 8 * every_s / 120
    assert last["state"] == "live"
    assert last["rate_hz"] == pytest.approx(RATE, rel=0.02)


@pytest.mark.parametrize("size", [13, 40])
def test_a_stream_stamped_by_the_packet_is_live_at_its_rate(tmp_path, monkeypatch, size):
    host = regular(RATE, 120.0)
    stream = XdfFileStream("gyro", host, 0.0)
    number = np.arange(len(host)) // size
    stream.stamps = host[np.minimum((number + 1) * size, len(host)) - 1] + (
        np.arange(len(host)) % size * 5e-5
    )
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.xdf", stream)
    (tmp_path / "a.yaml").write_text(config("a.xdf", "accurate", 5.0).replace("phone:/a", "gyro:x"))
    assert main(["run", "a.yaml"]) == 0
    lines = (tmp_path / "out/sync.jsonl").read_text().splitlines()
    sync = [x for x in map(json.loads, lines) if x["channel"] == "gyro:x"]
    assert sync[-1]["rate_hz"] == pytest.approx(RATE, rel=0.02)
    assert {x["state"] for x in sync} == {"live"}
    assert sync[-1]["gaps"] == 0
