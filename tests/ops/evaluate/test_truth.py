"""A run that is right in every number is written by hand, then spoilt in one."""

import msgspec
import numpy as np
import pytest

from operators.lines import EvidenceRecord, SyncReport
from operators.types import ENDS
from ops.cli import demo, selftest
from ops.evaluate import truth
from ops.results import summary
from ops.results.folder import Results, rigs
from ops.simulate.recording import START, make

COUNTS = dict.fromkeys(
    ("received", "used", "outliers", "late", "duplicate", "rejected", "gaps"), 0
)  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    made = make(selftest.scenario(150.0), 1)
    path = folder / "studio.ndjson"
    made.write(path)
    return made, truth.load(path)


def lines(path, rows):
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def write_run(folder, made, true, fused_error=0.0, skew_error=0.0):
    ticks = START + np.arange(0, 150, 0.2)
    silent = (ticks > START + 108.2) & (ticks < START + 130)
    noise = fused_error * np.random.default_rng(1).standard_normal(len(ticks))
    value = made.clean(ticks) + noise
    rows = [
        {
            "ts": t, "released": t + 2, "mode": "ure_only" if gone else "fused",
            "live": 1 if gone else 3, "signals": {"pulse": {"value": v, "sd": fused_error}},
            "sync_bound_s": 0.001,
        }
        for t, v, gone in zip(ticks.tolist(), value.tolist(), silent.tolist(), strict=True)
    ]  # fmt: skip
    lines(folder / "fused.jsonl", rows[:500])
    lines(folder / "fused.000001.jsonl", rows[500:])
    end = float(ticks[-1])
    counts = [
        COUNTS | {"received": c.received, "outliers": c.outliers} for c in true.channels.values()
    ]
    lines(
        folder / "sync.jsonl",
        [
            SyncReport(
                ts=end, rig="r", channel=name, why="end", state="live",
                offset_s=true.offset_s(name, end), offset_sd_s=1e-5,
                skew_ppm=c.skew_ppm + skew_error, skew_sd_ppm=0.1, clock_resets=len(c.resets),
                reset_at=None, lag_s=c.lag_s, lag_sd_s=0.001, confidence=0.9, rate_hz=20.0,
                jitter_p95_s=0.01, **n,
            )
            for (name, c), n in zip(true.channels.items(), counts, strict=True)
        ],
    )  # fmt: skip
    names = [f"{s}:{k}" for s, k in made.names]
    kept = made.rows.take(~made.rows.outlier & (made.rows.ts < START + 1e5))
    lag = np.array([true.channels[n].lag_s for n in names])[kept.name]
    columns = (kept.name, START + kept.host - lag, START + kept.rx, kept.value)
    lines(
        folder / "aligned.jsonl",
        [
            {"ts": ts, "rx": rx, "channel": names[n], "value": v}
            for n, ts, rx, v in zip(*(c.tolist() for c in columns), strict=True)
        ],
    )
    total = dict.fromkeys(ENDS, 0) | {
        "received": true.received, "duplicate": 3, "used": true.received - 3,
    }  # fmt: skip
    account = {"ended": True, "account": {"total": total, "by_source": {"phone": total}}}
    (folder / "run.json").write_bytes(msgspec.json.encode(account))


def test_a_right_run_passes_every_check(recording, tmp_path):
    write_run(tmp_path, *recording, fused_error=0.01)
    failed = [c for c in selftest.checks(tmp_path, recording[1], quick=False) if not c.passed]
    assert failed == []


def test_a_wrong_skew_fails_its_check(recording, tmp_path):
    write_run(tmp_path, *recording, fused_error=0.01, skew_error=0.6)
    checks = list(selftest.checks(tmp_path, recording[1], quick=False))
    assert {c.name.split()[1] for c in checks if not c.passed} == {"skew"}


def test_a_signal_worse_than_its_best_stream_fails(recording, tmp_path):
    write_run(tmp_path, *recording, fused_error=0.3)
    checks = {c.name: c for c in selftest.checks(tmp_path, recording[1], quick=False)}
    assert not checks["fused RMS error"].passed
    assert checks["fused RMS error"].found == pytest.approx(0.3, rel=0.1)


def test_a_channel_without_sync_lines_fails(recording, tmp_path):
    write_run(tmp_path, *recording, fused_error=0.01)
    lines(tmp_path / "sync.jsonl", [])
    failed = {c.name for c in selftest.checks(tmp_path, recording[1], True) if not c.passed}
    assert failed == {f"{name} sync lines" for name in recording[1].channels}


def test_each_stream_alone_is_much_better_when_clock_and_lag_are_corrected(recording, tmp_path):
    made, true = recording
    write_run(tmp_path, made, true)
    ticks = START + np.arange(10, 100, 0.2)
    alone = truth.alone(Results(tmp_path).aligned(), true, ticks)
    for channel in ("phone:/body", "watch:/wrist"):
        came, corrected = (truth.rms_error(v, true.at(ticks)) for v in alone[channel])
        assert corrected < 0.06 < 0.2 < came


def test_the_sections_of_the_demo_are_complete(recording, tmp_path, tmp_path_factory):
    made, true = recording
    write_run(tmp_path, made, true, fused_error=0.01)
    lines(
        tmp_path / "evidence.jsonl",
        [
            EvidenceRecord(
                ts=START + 7, rig="r", rule="risk_map", kind="risk", state="firing",
                severity="warn", risk="sync_degradation", action=None, quote=None,
                facts={"phase_diff": 0.03}, since=START + 5,
            )
        ],
    )  # fmt: skip
    two = tmp_path_factory.mktemp("two")
    write_run(two, made, true, fused_error=0.002)
    story = "\n".join(demo.story(tmp_path, Results(two), true))
    rows = [line.split() for line in story.splitlines()]
    assert ["causal", "0.009", "100", "%", "0.010", "76", "%"] in rows
    assert ["hindsight", "0.002", "100", "%", "0.002", "76", "%"] in rows
    assert "phone:/body" in story
    assert "1 of 1" in story
    assert "ure_only" in story
    assert "   82.5  done  clock of phone steps by +0.400 s\n" in story
    assert "  108.0  done  phone, watch silent for 12 s\n" in story
    assert "    7.0  seen  risk risk_map: phase_diff 0.030\n" in story
    assert "Of 750 ticks: fused 86 %, ure_only 14 %." in story
    assert "Account of events, balanced\n" in story


def test_an_account_that_does_not_balance_is_called_so(recording, tmp_path):
    write_run(tmp_path, *recording)
    report = msgspec.json.decode((tmp_path / "run.json").read_bytes())
    report["account"]["total"]["used"] -= 1
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(report))
    assert "NOT BALANCED" in summary.account(tmp_path)


def test_a_clock_step_is_reported_once_for_all_channels(tmp_path):
    report = SyncReport(
        ts=10.0, rig="r", channel="a:x", why="hop", state="live", offset_s=3.0, offset_sd_s=1e-3,
        skew_ppm=0.0, skew_sd_ppm=0.1, clock_resets=0, reset_at=None, lag_s=0.0, lag_sd_s=0.0,
        confidence=None, rate_hz=None, jitter_p95_s=None, **COUNTS,
    )  # fmt: skip
    stepped = msgspec.structs.replace(
        report, ts=12.0, why="reset", offset_s=2.5, clock_resets=1, reset_at=11.5
    )
    rows = [
        msgspec.structs.replace(r, channel=c) for r in (report, stepped) for c in ("a:x", "a:y")
    ]
    lines(tmp_path / "sync.jsonl", rows)
    lines(tmp_path / "evidence.jsonl", [])
    assert summary.seen(Results(tmp_path)) == [(11.5, "clock of a has stepped by 0.500 ±0.001 s")]


def test_a_long_timeline_is_cut_and_counted():
    lines = summary.timeline([(float(i), "mode fused") for i in range(100)], 0.0)
    assert lines.endswith("and 76 more")
    assert len(lines.splitlines()) == 25


def test_an_estimate_passes_within_its_bar_and_not_without_one_or_a_value():
    def passes(found, bar):
        return selftest.Check("x", found, 1.0, bar, measured=True).passed

    assert passes(1.4, 0.5) and passes(0.6, 0.5)
    assert not passes(1.6, 0.5)
    assert not passes(None, 0.5)
    assert not passes(1.0, float("nan"))


def test_every_spell_of_a_mode_is_counted_across_segments(recording, tmp_path):
    write_run(tmp_path, *recording)
    spells = Results(tmp_path).modes()
    assert [mode for _, mode, _ in spells] == ["fused", "ure_only", "fused"]
    assert sum(count for *_, count in spells) == 750


def test_rigs_are_found_in_their_own_folders(tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fused.jsonl").touch()
    assert [rig.folder.name for rig in rigs(tmp_path)] == ["left", "right"]


def test_the_true_offset_maps_every_stamp_to_its_host_time(recording):
    made, true = recording
    rows = made.rows
    for k, (source, key) in enumerate(made.names):
        mine = (rows.name == k) & (rows.ts < START + 1e5)
        host = START + rows.host[mine]
        offset = [true.offset_s(f"{source}:{key}", h) for h in host.tolist()]
        np.testing.assert_allclose(rows.ts[mine] + offset, host, atol=1e-6)
