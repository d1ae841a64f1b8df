import gc
import json
import math

import msgspec
import numpy as np
import pytest

from operators.lines import DeadLine, MarkerLine
from operators.records import INDICATORS, Fused, FusedSignal, Packet
from operators.types import MODES
from sinks.files import encode
from sinks.files.encode import aligned_lines, fused_lines, packet_lines


def fused(k: int, *, members: int = 2, signals: int = 1, run: int = 10, seed: int = 0) -> Fused:
    """k ticks at 5 Hz whose modes, weights and indicators change every `run` ticks."""
    rng = np.random.default_rng(seed)
    rest = np.arange(k) // run

    def signal(name: str) -> FusedSignal:
        weights = rng.random((k, members))[rest]
        weights[:, -1] = 0.0
        value = rng.standard_normal(k)
        value[rng.random(k) < 0.1] = np.nan
        quote = '"' if name == "s1" else ""
        return FusedSignal(
            name, tuple(f"osc_{j}:/é{quote}{j}" for j in range(members)), value, rng.random(k),
            np.where(rng.random(k) < 0.5, rng.random(k), np.nan),
            rest % len(MODES), rest % (members + 1), weights,
        )  # fmt: skip

    indicators = rng.random((k, 5))[rest]
    indicators[: k // 3] = np.nan
    ts = (8_500_000_000 + np.arange(k)) / 5
    return Fused(
        ts, ts + 0.7, rest % len(MODES), rest % (members * signals + 1),
        tuple(signal(f"s{i}") for i in range(signals)), indicators, indicators, indicators,
        np.empty((k, 0)), (), rng.random(k) * 1e-6,
        rng.random(k),
    )  # fmt: skip


def one_by_one(f: Fused, rig: str) -> list[dict]:
    def number(x) -> float | None:
        return None if math.isnan(x) else float(x)

    return [
        {
            "ts": float(f.ts[i]),
            "released": float(f.released[i]),
            "rig": rig,
            "mode": MODES[f.mode[i]],
            "live": int(f.live[i]),
            "signals": {
                s.name: {
                    "value": number(s.value[i]),
                    "sd": number(s.sd[i]),
                    "systematic_sd": number(s.systematic_sd[i]),
                    "mode": MODES[s.mode[i]],
                    "live": int(s.live[i]),
                    "weights": {c: float(s.weights[i, j]) for j, c in enumerate(s.channels)},
                }
                for s in f.signals
            },
            "indicators": {n: number(f.indicators[i, j]) for j, n in enumerate(INDICATORS)},
            "sync_bound_s": number(f.sync_bound_s[i]),
        }
        for i in range(len(f))
    ]


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize(("k", "run"), [(1, 1), (2, 1), (7, 3), (300, 1), (300, 5), (300, 400)])
def test_lines_of_many_ticks_equal_those_of_single_ticks(k, run, members, signals):
    f = fused(k, members=members, signals=signals, run=run)
    lines = fused_lines(f, 'a "rig"').splitlines()
    expected = one_by_one(f, 'a "rig"')
    assert [json.loads(line) for line in lines] == expected
    compact = [json.dumps(d, separators=(",", ":"), ensure_ascii=False) for d in expected]
    assert [list(json.loads(line)) for line in lines] == [list(d) for d in expected]
    assert [line.decode().count(",") for line in lines] == [c.count(",") for c in compact]


def test_bytes_do_not_depend_on_how_ticks_are_cut_into_packets():
    def cut(f: Fused, a: int, b: int) -> Fused:
        parts = [
            FusedSignal(
                s.name, s.channels, s.value[a:b], s.sd[a:b], s.systematic_sd[a:b], s.mode[a:b],
                s.live[a:b], s.weights[a:b],
            )
            for s in f.signals
        ]  # fmt: skip
        columns = {
            name: getattr(f, name)[a:b]
            for name in ("ts", "released", "mode", "live", "indicators", "measured", "reported")
        }
        return Fused(
            **columns, signals=tuple(parts), facts=f.facts[a:b], fact_names=(),
            sync_bound_s=f.sync_bound_s[a:b], sync_estimate_bound_s=f.sync_estimate_bound_s[a:b],
        )  # fmt: skip

    f = fused(200, members=3)
    whole = fused_lines(f, "r")
    for step in (1, 3, 50):
        pieces = [fused_lines(cut(f, i, i + step), "r") for i in range(0, 200, step)]
        assert b"".join(pieces) == whole


def test_bytes_do_not_depend_on_how_many_ticks_are_written_at_once(monkeypatch):
    f = fused(200, members=3)
    whole = fused_lines(f, "r")
    monkeypatch.setattr(encode, "MAX_TICKS", 7)
    assert len(list(encode.fused_texts(f, "r"))) == 29
    assert fused_lines(f, "r") == whole


def test_no_ticks_make_no_line():
    assert fused_lines(fused(0), "r") == b""


def test_a_time_on_the_grid_is_short():
    assert fused_lines(fused(2), "r").startswith(b'{"ts":1700000000.0,"released":1700000000.7,')


def test_an_infinite_number_never_leaves():
    f = fused(5)
    f.sync_bound_s[3] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        fused_lines(f, "r")


def test_an_aligned_sample_has_its_fields_in_order():
    columns = (np.array([x, x + 0.25]) for x in (1.0, 2.0, 3.0, 4.0))
    lines = aligned_lines("a:b", *columns, "r").splitlines()
    assert lines[1] == (
        b'{"ts":1.25,"source_ts":2.25,"rx":3.25,"rig":"r","channel":"a:b","value":4.25}'
    )


def test_each_part_of_a_packet_has_its_file():
    dead = DeadLine(
        ts=1.0, rig="r", stage="receive", reason="json", source="a", where="f:0", count=2,
        sample="{",
    )  # fmt: skip
    marker = MarkerLine(ts=1.0, source_ts=2.0, rig="r", channel="a:b", value="go")
    packet = Packet("r", 1.0, False, np.empty(0), dead=(dead, dead), markers=(marker,))
    lines = dict(packet_lines(packet))
    assert lines["dead"].splitlines() == [msgspec.json.encode(dead)] * 2
    assert list(json.loads(lines["dead"].splitlines()[0])) == [
        "ts", "rig", "stage", "reason", "source", "where", "count", "sample",
    ]  # fmt: skip
    assert json.loads(lines["markers"]) == {
        "ts": 1.0, "source_ts": 2.0, "rig": "r", "channel": "a:b", "value": "go",
    }  # fmt: skip
    assert lines["sync"] == lines["evidence"] == lines["aligned"] == b""
    assert "fused" not in lines


def test_writing_packets_leaves_nothing_behind():
    packet = Packet("r", 1.0, False, np.empty(0), fused=fused(1))

    def written(packets: int) -> int:
        for _ in range(packets):
            list(packet_lines(packet))
        gc.collect()
        return len(gc.get_objects())

    first = written(10)
    assert written(200) - first < 20
