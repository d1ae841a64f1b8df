"""`lumen shadow` from end to end: itself, another configuration, removed ticks, growing tape."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from configs.outputs import TapConfig
from ops.cli.shadow import tapes
from ops.fakes.ports import free_port
from ops.shadow.candidate import ShadowError, command
from ops.shadow.self_check import first_lines
from sources.tape.writer import TapeWriter
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
LIVE = ", ".join(
    [f'{{name: osc_{i}, type: osc, addr: "127.0.0.1:{i}"}}' for i in (1, 2)]
    + ["{name: midi_1, type: midi, device: none}"]
    + ['{name: ure, type: ure, metrics_url: "http://127.0.0.1:9/m"}']
)
SIGNALS = """
channels: {"midi_1:cc/1/1": {kind: held, gain: 0.07874, offset: -5.0, stale_after_s: 1}}
signals:
  pulse:
    reference: "ure:pulse"
    members:
      "ure:pulse": {group: ure}
      "osc_1:/body/pulse": {}
      "osc_2:/wrist/pulse": {}
      "midi_1:cc/1/1": {}
quality: {signal: pulse, window_s: 40}
failover: {min_streams: 2}
"""
ALIGN = "align: {max_lag_s: 2.0, window_s: 30, hop_s: 5}\n"


def config(path, stream, shadow="{settle_s: 10}", more=ALIGN, out="out"):
    path.write_text(
        f"version: 2\nstreams: [{stream}]\n{SIGNALS}shadow: {shadow}\n"
        f"output: {{dir: {out}}}\n{more}"
    )
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Return a folder with the demo's configuration and its results."""
    folder = tmp_path_factory.mktemp("shadowed")
    demo = ROOT / "configs" / "recordings" / "demo.ndjson.gz"
    config(folder / "c.yaml", f"{{name: demo, type: file, path: {demo}}}", out=folder / "out")
    done = lumen(folder, "run", "c.yaml")
    assert done.returncode == 0, done.stderr
    return folder, demo


def lumen(folder, *argv):
    return subprocess.run(
        [sys.executable, "-m", "ops", *map(str, argv)], cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def shadowed(folder, candidate, against, *tape):
    return lumen(
        folder, "shadow", candidate, "--against", against, "--tape", *tape,
        "--port", free_port(), "--into", f"shadow_{candidate}_{Path(against).name}",
    )  # fmt: skip


def test_the_same_version_on_the_same_recording_is_identical(ran):
    folder, demo = ran
    done = shadowed(folder, "c.yaml", "out", demo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "canary_failure_ratio 0.0000" in done.stdout
    assert "canary_unique_ratio 1.0000" in done.stdout and "identical 1.0000 of" in done.stdout
    assert "differ" not in done.stdout


def test_another_configuration_is_not(ran):
    folder, demo = ran
    stream = f"{{name: demo, type: file, path: {demo}}}"
    config(folder / "slow.yaml", stream, more=ALIGN.replace("30", "40"))
    done = shadowed(folder, "slow.yaml", "out", demo)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "identical 1.0000" not in done.stdout
    kept = (folder / "shadow_slow.yaml_out" / "diff.jsonl").read_text().splitlines()
    assert {json.loads(x)["verdict"] for x in kept} <= {"mode", "presence", "value"}


def test_removed_ticks_are_extra(ran):
    folder, demo = ran
    cut = folder / "cut"
    cut.mkdir()
    lines = (folder / "out" / "fused.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "fused.jsonl").write_bytes(b"".join(x for k, x in enumerate(lines) if k % 10))
    (cut / "run.json").write_bytes((folder / "out" / "run.json").read_bytes())
    done = shadowed(folder, "c.yaml", "cut", demo)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "canary_unique_ratio 0.90" in done.stdout
    assert str(Path("shadow_c.yaml_cut") / "diff.jsonl") in done.stdout


def test_few_ticks_give_no_verdict(ran):
    folder, demo = ran
    config(folder / "late.yaml", f"{{name: demo, type: file, path: {demo}}}", "{settle_s: 160}")
    done = shadowed(folder, "late.yaml", "out", demo)
    assert done.returncode == 3
    assert "canary_failure_ratio unknown" in done.stdout


def test_a_candidate_that_differs_from_itself_is_unknown(ran, tmp_path):
    folder, demo = ran
    # An interpreter of which each start gives another output.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if os.environ.get('PYTHONHASHSEED') == '2':\n"
        "    import configs.load as m\n"
        "    load = m.load\n"
        "    from msgspec.structs import replace as r\n"
        "    from dataclasses import replace as d\n"
        "    def other(path, *a):\n"
        "        x = load(path, *a)\n"
        "        c = x.config\n"
        "        return d(x, config=r(c, align=r(c.align, window_s=20.0)))\n"
        "    m.load = other\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ops", "shadow", "c.yaml", "--against", "out", "--tape", str(demo),
         "--into", "shadow_self", "--port", str(free_port())],
        cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout == "UNKNOWN: two runs of the candidate on the same minute differ\n"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--against", "nowhere", "--tape", "demo"), "lumen: demo does not exist"),
        (("--against", "out", "--tape", "kafka"), "this version has no Kafka stream"),
        (("--against", "out", "--tape", "."), "no tape in this folder"),
        (("--against", "nowhere", "--tape", "c.yaml"), "nowhere is no folder"),
        (("--against", "out", "--tape", "c.yaml", "--into", "out"), "choose another --into"),
    ],
)
def test_an_invalid_call_is_one_line(ran, argv, line):
    done = lumen(ran[0], "shadow", "c.yaml", *argv)
    assert done.returncode == 2 and done.stdout == ""
    assert line in done.stderr and done.stderr.count("\n") == 1


def test_two_passes_have_no_shadow(ran):
    folder, demo = ran
    config(
        folder / "two.yaml",
        f"{{name: demo, type: file, path: {demo}}}",
        more=ALIGN + "mode: hindsight\n",
    )
    done = shadowed(folder, "two.yaml", "out", demo)
    assert done.returncode == 2 and "mode 'hindsight' has no shadow" in done.stderr


# -- a tape that grows ---------------------------------------------------------------------------


def tape_lines(ran):
    return list(first_lines(ran[1], 1e9, follow=False, wait=lambda s: False))


def test_a_candidate_follows_a_growing_tape_with_the_bytes_of_the_whole(ran, tmp_path):
    lines = tape_lines(ran)
    made = config(tmp_path / "c.yaml", LIVE)
    writer = TapeWriter(TapConfig(dir=str(tmp_path / "tap"), rotate_mb=0.05), "studio", "x", None)
    found, follow = tapes([str(tmp_path / "tap")])
    assert (found, follow) == ([writer.folder], True)
    out = tmp_path / "followed"
    candidate = subprocess.Popen(command(made, found, out, follow=True, block=0.5), cwd=ROOT)
    half = len(lines) // 2
    for i in range(0, half, 100):
        writer.write(b"".join(lines[i : min(i + 100, half)]))
    until(lambda: (out / "fused.jsonl").exists() and (out / "fused.jsonl").stat().st_size > 10_000,
          process=candidate)  # fmt: skip
    writer.write(b"".join(lines[half:]))
    writer.close(ended=True)
    assert candidate.wait(60) == 0
    whole = tmp_path / "whole"
    subprocess.run(command(made, found, whole, block=0.5), cwd=ROOT, check=True)
    assert (out / "fused.jsonl").read_bytes() == (whole / "fused.jsonl").read_bytes()


def test_a_tape_without_its_beginning_is_refused(tmp_path):
    writer = TapeWriter(TapConfig(dir=str(tmp_path), rotate_mb=0.0001), "studio", "x", None)
    for i in range(50):
        writer.write(b'{"tick":%d.25}\n' % i)
    writer.close(ended=True)
    assert tapes([str(tmp_path)]) == ([writer.folder], True)
    (writer.folder / "000000.ndjson").unlink()
    with pytest.raises(ShadowError, match="its beginning was deleted"):
        tapes([str(tmp_path)])


def test_the_metrics_are_served_while_it_compares(ran, tmp_path):
    """A shadow of a tape without an end is ended by a signal, and shows its counts until then."""
    lines = tape_lines(ran)
    writer = TapeWriter(TapConfig(dir=str(tmp_path / "tap")), "studio", "x", None)
    writer.write(b"".join(lines))
    made = config(
        tmp_path / "c.yaml", LIVE,
        more=ALIGN + "collect: {block_s: density}\n",
    )  # fmt: skip
    out = tmp_path / "out"
    subprocess.run(command(made, [writer.folder], out), cwd=ROOT, check=True)
    port = free_port()
    where = f"http://127.0.0.1:{port}/metrics_shadow"
    shadow = subprocess.Popen(
        [sys.executable, "-m", "ops", "shadow", str(made), "--against", str(out),
         "--tape", str(tmp_path / "tap"), "--into", str(tmp_path / "shadow"), "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    page = ""

    def counted():
        nonlocal page
        try:
            with urllib.request.urlopen(where, timeout=5) as got:
                page = got.read().decode()
        except OSError:
            return False
        found = [x for x in page.splitlines() if 'verdict="identical"' in x]
        return found and float(found[0].split()[-1]) > 500

    until(counted, lambda: page, shadow, every_s=0.05)
    assert 'fusion_shadow_ticks_total{rig="studio",verdict="missing"} 0.0' in page
    shadow.terminate()
    text, _ = shadow.communicate(timeout=60)
    assert shadow.returncode == 0 and "identical 1.0000" in text
    writer.close(ended=True)
