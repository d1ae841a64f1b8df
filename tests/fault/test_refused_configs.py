"""Faults of a configuration: their number, order and form, at once for any length."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from configs.document import MAX_BYTES, ConfigError
from configs.load import load
from tests.fault.refused import BASE, faults
from tests.support.waiting import HUNG_S

pytestmark = pytest.mark.usefixtures("run_folder")


ROOT = Path(__file__).parents[2]


def test_several_faults_are_reported_at_once_in_order() -> None:
    Path("bad.yaml").write_text(
        BASE + "align: {window_s: x, hop: 1}\nweights: {ure: 0, sensors: 0}\nrigg: a\n", "utf-8"
    )

    assert [fault.split(": ")[0] for fault in faults("bad.yaml")] == [
        "bad.yaml:4:19",
        "bad.yaml:4:22",
        "bad.yaml:5:10",
        "bad.yaml:6:1",
    ]


def test_a_fault_is_reported_once_and_not_with_its_consequences() -> None:
    Path("bad.yaml").write_text(
        BASE + "resample: {target_hz: fast}\nquality: {band_hz: [0.1, 3]}\nfacts: [5]\n",
        "utf-8",
    )

    assert [fault.split(": ")[0] for fault in faults("bad.yaml")] == [
        "bad.yaml:4:23",
        "bad.yaml:6:9",
    ]


def test_a_thousand_faults_are_counted_and_not_listed() -> None:
    Path("bad.yaml").write_text(BASE + "".join(f"k{i}: 1\n" for i in range(1000)), "utf-8")

    found = faults("bad.yaml")

    assert len(found) == 51
    assert found[-1] == "and 950 more"


MANY = {
    "unknown keys": "".join(f"k{i}: 1\n" for i in range(25_000)),
    "facts": f"facts: [{','.join(['a'] * 30_000)}]\n",
    "rule files": f"evidence: {{rules: [{','.join(['rules'] * 30_000)}]}}\n",
    "channels": "channels:\n" + "".join(f"  c{i}: {{knid: 1}}\n" for i in range(9_000)),
    "streams": BASE.replace("version: 2\n", "").replace(
        "}]", "}" + ", {name: s, type: osc, addr: 1}" * 6_000 + "]"
    ),
    "destinations": "send: [" + '{name: m, type: osc, to: "h:9", map: {/x: a}},' * 5_000 + "]\n",
    "what is sent": "send: [{name: m, type: osc, to: 'h:9', map: {"
    + "".join(f"/{i}: pulze," for i in range(14_000))
    + "}}]\n",
    "members of no stream": (
        "streams:\n"
        + "".join(f'  - {{name: s{i}, type: osc, addr: "a"}}\n' for i in range(2_500))
        + "signals:\n  p:\n    members:\n"
        + "".join(f'      "t{i}:x": {{}}\n' for i in range(6_000))
    ),
}


@pytest.mark.parametrize("name", MANY)
def test_no_config_is_too_long_to_be_refused_at_once(name: str) -> None:
    text = MANY[name]
    whole = "version: 2\n" + text if "streams:" in text else BASE + text
    assert len(whole) < MAX_BYTES
    Path("bad.yaml").write_text(whole, "utf-8")

    assert faults("bad.yaml")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"# " + b"x" * MAX_BYTES, "c.yaml:1:1: the file is too large, expected at most 256 KiB"),
        (b"rig: a\nout: \xff", "c.yaml:2:6: byte 0xff, expected UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n", "c.yaml:1:1: byte 0x89, expected UTF-8 text"),
    ],
    ids=["too large", "not UTF-8", "a picture"],
)
def test_a_file_that_is_no_text_is_refused(raw: bytes, expected: str) -> None:
    Path("c.yaml").write_bytes(raw)

    assert faults("c.yaml") == [expected]


@pytest.mark.parametrize("path", ["missing.yaml", "rules", "demo.ndjson/x"])
def test_a_missing_file_is_one_line_that_names_it(path: str) -> None:
    (fault,) = faults(path)

    assert fault.startswith(f"{path}:1:1: the file {path} ")


def test_a_fault_is_one_line_whatever_the_config_holds() -> None:
    Path("bad.yaml").write_text(BASE + '"a\\nb\\e[31m": 1\nrig: "\\n\\r/"\n', "utf-8")

    for fault in faults("bad.yaml"):
        assert fault.isprintable()


def test_a_faulty_configuration_is_an_error_with_one_line_a_fault() -> None:
    Path("bad.yaml").write_text(BASE + "rigg: a\nmax_rigs: 0\n", "utf-8")

    with pytest.raises(ConfigError) as caught:
        load("bad.yaml")

    assert caught.value.exit_code == 2
    assert [line.split(": ")[0] for line in caught.value.lines()] == [
        "bad.yaml:4:1",
        "bad.yaml:5:11",
    ]


COMMANDS = {
    "the flow": ["-m", "bytewax.run", "flows.fusion:flow('{}')"],
    "lumen check": ["-m", "ops", "check", "{}"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_config_ends_the_process_at_once(name: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(BASE + "algin: {}\n", "utf-8")
    command = [sys.executable, *(word.format(bad) for word in COMMANDS[name])]
    begun = children_cpu_s()
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    # The machine may be busy: what counts is what the program needs.
    seconds = children_cpu_s() - begun
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert f"{bad}:4:1: unknown key 'algin'" in ended.stderr
    assert seconds < HUNG_S


def children_cpu_s() -> float:
    """Return the CPU time of all processes that this one has waited for (s)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
