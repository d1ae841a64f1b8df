"""No fault of a configuration shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.refused import BASE, faults

pytestmark = pytest.mark.usefixtures("run_folder")


def test_what_the_environment_holds_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "s3cr3t-canary")
    text = """version: ${CANARY}
rig: ${CANARY}/x
streams:
  - {name: "${CANARY}", type: file, path: "gone/${CANARY}"}
  - {name: "${CANARY}", type: "${CANARY}", path: demo.ndjson}
  - {name: "${CANARY} ${CANARY}", type: file, path: demo.ndjson}
signals: {pulse: {reference: "${CANARY}", members: {"a:x": {group: "${CANARY}"}, "b:y": {}}}}
facts: ["${CANARY}", "${CANARY}"]
align: {window_s: "${CANARY}", method: "${CANARY}"}
quality: {signal: "${CANARY}"}
output: {dir: "${CANARY}", rotate_mb: "${CANARY}"}
"""
    parts = text.splitlines(keepends=True)
    Path("whole.yaml").write_text(text, "utf-8")
    printed = faults("whole.yaml")
    for part in [*parts[7:8], *parts[9:10], parts[1]]:
        Path("part.yaml").write_text(BASE + part, "utf-8")
        printed += faults("part.yaml")
    reference = BASE.replace("pulse: {", 'pulse: {reference: "${CANARY}", ')
    Path("part.yaml").write_text(reference, "utf-8")
    printed += faults("part.yaml")
    Path("rules/r.yaml").write_text("- when: live < ${CANARY}", "utf-8")
    Path("part.yaml").write_text(BASE + "evidence: {rules: [rules/r.yaml]}", "utf-8")
    printed += faults("part.yaml")

    assert len(printed) > 12
    assert not [fault for fault in printed if "s3cr3t" in fault]


@pytest.mark.parametrize(
    "url",
    [
        "http://me:S3cret@127.0.0.1:1/m", "https://me:S3cret@h/m", "me:S3cret@127.0.0.1:1/m",
        "http://me:S3/cr@S3cret@h/m", f"http://me:{'long' * 12}S3cret@h/m", "http://S3cret@h/m",
    ],
)  # fmt: skip
def test_a_password_in_a_url_is_never_shown(url: str) -> None:
    page = f"{{name: u, type: ure, metrics_url: '{url}'}}"
    Path("bad.yaml").write_text(BASE.replace("}]", f"}}, {page}]"), "utf-8")

    (fault,) = faults("bad.yaml")

    assert "S3cret" not in fault
    assert "long" not in fault
    assert "***@" in fault
    assert "basic_auth takes a username and a password_file" in fault


def test_a_password_that_stands_elsewhere_is_not_shown_either() -> None:
    text = BASE + 'http://me:S3cret@h: 1\noutput: {dir: 1, "me:S3cret@h": 2}\nrig: [me:S3cret@h]\n'
    Path("bad.yaml").write_text(text, "utf-8")

    found = faults("bad.yaml")

    assert len(found) >= 3
    assert not any("S3cret" in fault for fault in found)
