"""Faults on recordings: exact, seeded, in order of arrival."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ops.__main__ import main
from ops.chaos.fault import Disturbance
from ops.chaos.rewriting import RecordingSurvey, Rewriter
from ops.cli import convert
from ops.cli.chaos import ChaosError, rewrite
from sources.rows.written import lines_of_rows
from tests.support.json_lines import json_lines

START, AT, FOR = 1_700_000_000.0, 10.0, 8.0
ENTROPY = "ure_residual_entropy_last"


def events():
    """Two stamped streams of 10 Hz, one without stamps, and an array, in order of arrival."""
    rng = np.random.default_rng(5)
    made = []
    for i in range(300):
        t = i / 10
        queue = rng.exponential(0.02, 3).round(6).tolist()
        made.append((t + queue[0], "a", "x", t - 7.0, [float(i), -float(i)], i))
        made.append((t + 0.03 + queue[1], "b", "x", t + 3.0, round(float(rng.normal()), 3), i))
        made.append((t + 0.06, "c", "clock", None, 1.0, i))
    made += [(2.0 * i + 0.5, "ure", ENTROPY, 2.0 * i, 0.08 + 0.001 * (i % 3), i) for i in range(15)]
    return sorted(made, key=lambda event: event[0])


def lines():
    found = []
    for rx, source, key, ts, value, seq in events():
        stamp = rx if ts is None else ts
        meta = {"seq": seq} if ts is None else {"rx": START + rx, "seq": seq}
        event = {"ts": START + stamp, "source": source, "key": key, "value": value}
        found.append(json.dumps({**event, "meta": meta}))
    found.insert(200, json.dumps({"tick": json.loads(found[200])["meta"].get("rx", START + 7.0)}))
    found.insert(400, "no line")
    return found


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "in.ndjson"
    path.write_text("\n".join(lines()) + "\n")
    return path


def disturbed(recording: Path, mode: str, name: str = "out.ndjson", **more):
    """Return the lines of the recording as converted, those with the fault, and the truth."""
    plain = recording.with_name("plain.ndjson")
    if not plain.exists():
        convert.convert(str(recording), plain)
    target = recording.with_name(name)
    truth = rewrite(str(recording), target, Disturbance(mode, **{"at_s": AT, "for_s": FOR, **more}))
    return read(plain), read(target), truth


def read(path: Path) -> list[dict]:
    return json_lines(path)


def arrival(line: dict) -> float:
    return line.get("meta", {}).get("rx", line.get("ts", line.get("tick", np.nan)))


def in_window(line: dict) -> bool:
    first = min(arrival(each) for each in map(json.loads, lines()[:3]))
    return "source" in line and first + AT <= arrival(line) < first + AT + FOR


def identity(line: dict):
    return line.get("source"), line.get("meta", {}).get("seq")


def pairs(before: list[dict], after: list[dict]):
    """Yield the events before and after; those outside the window must be equal."""
    old = {identity(line): line for line in before if "source" in line}
    new = {identity(line): line for line in after if "source" in line}
    for name, line in old.items():
        if in_window(line):
            yield line, new.get(name)
        else:
            assert new[name] == line


def is_in_order(after: list[dict], disorder_s: float = 0.0) -> bool:
    times = np.array([arrival(line) for line in after])
    times = times[np.isfinite(times)]
    return bool((np.diff(times) >= -disorder_s).all())


@pytest.mark.parametrize("mode", ["delay", "jitter"])
def test_events_arrive_later_and_stay_in_order(recording, mode) -> None:
    before, after, truth = disturbed(recording, mode)
    low, high = (0.8, 0.8) if mode == "delay" else (0.05, 0.2)
    moved = []
    for old, new in pairs(before, after):
        moved.append(arrival(new) - arrival(old))
        assert new["value"] == old["value"]
        if old["source"] != "c":  # without a stamp of its own its arrival is its only time
            assert new["ts"] == old["ts"]
    assert truth["changed"] == len(moved) > 200
    assert low - 1e-6 <= min(moved) <= max(moved) <= high + 1e-6
    assert is_in_order(after, disorder_s=1e-6)
    assert len(after) == len(before)
    assert np.std(moved) > 0.03 or mode == "delay"


def test_a_spike_is_noise_of_three_deviations(recording) -> None:
    before, after, _ = disturbed(recording, "spike", entropy=0.35)
    noise = []
    for old, new in pairs(before, after):
        assert arrival(new) == arrival(old)
        if old["source"] == "b":
            noise.append(new["value"] - old["value"])
        elif old["source"] == "ure":
            assert new["value"] == 0.35
        elif old["source"] == "c":
            assert new == old  # a constant has no spread
    values = [line["value"] for line in before if line.get("source") == "b"]
    assert np.std(noise) == pytest.approx(3 * np.std(values), rel=0.25)
    assert [identity(line) for line in after] == [identity(line) for line in before]


def test_a_loss_takes_three_events_of_ten(recording) -> None:
    before, after, truth = disturbed(recording, "loss")
    found = [new is None for _, new in pairs(before, after)]
    assert np.mean(found) == pytest.approx(0.3, abs=0.09)
    assert truth["removed"] == sum(found) == len(before) - len(after)
    assert [line for line in after if "source" not in line] == [
        line for line in before if "source" not in line
    ]


def test_a_stop_leaves_no_event(recording) -> None:
    before, after, truth = disturbed(recording, "stop")
    assert [new for _, new in pairs(before, after) if new] == []
    assert truth["removed"] == len(before) - len(after) > 200
    assert sum("tick" in line or "lost" in line for line in after) == 2


def test_a_step_moves_the_clocks_of_senders_alone(recording) -> None:
    before, after, truth = disturbed(recording, "step", for_s=0.0)
    assert truth["window"][1] is None
    old = {identity(line): line for line in before if "source" in line}
    begin = truth["window"][0]
    for line in after:
        if "source" not in line:
            continue
        step = 0.5 if line["source"] != "c" and arrival(line) >= begin else 0.0
        assert line["ts"] - old[identity(line)]["ts"] == pytest.approx(step, abs=1e-6)
        assert arrival(line) == arrival(old[identity(line)])
    assert is_in_order(after)


@pytest.mark.parametrize("tempo", [1.4, 0.7])
@pytest.mark.parametrize("for_s", [0.0, 4.0])
def test_a_tempo_changes_one_stream_on_its_own_clock(recording, tempo, for_s) -> None:
    before, after, truth = disturbed(recording, "step", for_s=for_s, tempo=tempo, on=("a:x",))
    old = {identity(line): line for line in before if "source" in line}
    begin, end = truth["window"]
    # Faster events overtake one another in the queue of the network.
    moved = sorted((x for x in after if x.get("source") == "a"), key=lambda x: x["meta"]["seq"])
    assert [line["meta"]["seq"] for line in moved] == list(range(300))
    for one, other in pairwise(moved):
        later = other["ts"] - one["ts"]
        time = one["ts"] + 7.0
        inside = time > begin + 0.2 and (end is None or time < end - 0.3)
        outside = time < begin - 0.2 or (end is not None and time > end + 0.3)
        assert later == pytest.approx(0.1 / tempo, abs=2e-6) or not inside
        assert later == pytest.approx(0.1, abs=2e-6) or not outside
        shift = one["ts"] - old[identity(one)]["ts"]
        assert arrival(one) - arrival(old[identity(one)]) == pytest.approx(shift, abs=2e-6)
    others = [line for line in after if line.get("source") != "a"]
    assert others == [line for line in before if line.get("source") != "a"]
    assert is_in_order(after, disorder_s=1e-6)


@pytest.mark.parametrize("mode", ["jitter", "spike", "loss"])
def test_a_seed_gives_the_same_bytes_and_another_seed_others(recording, mode) -> None:
    made = []
    for i, seed in enumerate((1, 1, 2)):
        disturbed(recording, mode, f"{i}.ndjson", seed=seed)
        made.append(recording.with_name(f"{i}.ndjson").read_bytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("mode", ["delay", "jitter", "spike", "loss", "step", "stop", "tempo"])
def test_the_cutting_of_the_file_changes_nothing(recording, mode) -> None:
    more = {"tempo": 1.4, "on": ("a",)} if mode == "tempo" else {}
    fault = Disturbance("step" if mode == "tempo" else mode, AT, FOR, seed=3, **more)
    whole = list(convert.parts_of(str(recording)))

    def cut():
        rng = np.random.default_rng(8)
        for rows, details in whole:
            edges = np.flatnonzero(np.diff(rows.line)) + 1
            chosen = np.sort(rng.choice(edges, 40, replace=False)).tolist()
            for a, b in zip([0, *chosen], [*chosen, len(rows)], strict=True):
                yield rows.take(slice(a, b)), details.take(slice(a, b))

    survey = RecordingSurvey.of(whole)
    made = [
        b"".join(lines_of_rows(*part) for part in Rewriter(fault, survey).parts(reading))
        for reading in (lambda: whole, cut)
    ]
    assert made[0] == made[1]
    assert RecordingSurvey.of(cut()).spreads.keys() == survey.spreads.keys()


def test_columns_are_written_in_the_same_order(recording) -> None:
    disturbed(recording, "jitter")
    rewrite(str(recording), recording.with_name("o.parquet"), Disturbance("jitter", AT, FOR))
    convert.convert(str(recording.with_name("o.parquet")), recording.with_name("back.ndjson"))
    assert read(recording.with_name("back.ndjson")) == read(recording.with_name("out.ndjson"))


def test_the_command_writes_a_recording_and_its_truth(recording, capsys) -> None:
    target = recording.with_name("out.ndjson")
    assert main(["chaos", "loss", str(recording), str(target), "--at", "3", "--for", "2"]) == 0
    truth = json.loads(target.with_name("out.truth.json").read_text())
    assert truth["window"][1] - truth["window"][0] == pytest.approx(2.0)
    assert truth["removed"] > 0
    assert f"{truth['removed']:,} removed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["stop", "--on", "nobody"], "no stream nobody"),
        (["stop", "--at", "1000"], "no arrival at 1000 s"),
        (["step", "--tempo", "1.4"], "--tempo: for step"),
        (["loss", "--entropy", "0.3"], "--entropy: for spike only"),
    ],
)
def test_a_fault_without_events_is_refused(recording, capsys, more, expected) -> None:
    mode, *options = more
    target = recording.with_name("out.ndjson")
    with pytest.raises(SystemExit) as ended:
        main(["chaos", mode, str(recording), str(target), *options])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
    assert not target.exists()


def test_nothing_is_overwritten(recording) -> None:
    disturbed(recording, "stop")
    with pytest.raises(ChaosError, match="exists already"):
        rewrite(str(recording), recording.with_name("out.ndjson"), Disturbance("stop", AT, FOR))
