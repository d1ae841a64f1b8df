"""The output of the shipped recordings stays what it is: in numbers everywhere, in bytes if pinned.

`python -m tests.golden.renew` stores both anew.
"""

from __future__ import annotations

import copy
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.golden.shipped import (
    HASHES,
    KINDS,
    PINNED,
    RUNS,
    arithmetic,
    differences,
    hashes,
    lines,
    run,
    stored,
)

SHOWN = 20


@pytest.mark.parametrize("name", RUNS)
def test_every_number_is_that_of_the_golden_run(name: str, tmp_path: Path) -> None:
    golden = stored(name)
    assert len(golden["fused"]) > 300
    found = list(islice(differences(golden, lines(run(name, tmp_path))), SHOWN))
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def golden_hashes() -> dict[str, dict[str, str]]:
    golden = json.loads(HASHES.read_text())
    here = arithmetic()
    other = [
        f"{key} {here[key]:.12}, not {value:.12}"
        for key, value in golden["arithmetic"].items()
        if here[key] != value
    ]
    if other:
        pytest.skip(f"the hashes are those of another arithmetic: {'; '.join(other)}")
    runs: dict[str, dict[str, str]] = golden["runs"]
    return runs


@pytest.mark.parametrize("name", RUNS)
def test_every_byte_is_that_of_the_golden_run_where_arithmetic_is_pinned(
    name: str, tmp_path: Path, golden_hashes: dict[str, dict[str, str]]
) -> None:
    found = hashes(run(name, tmp_path, PINNED))
    assert found.keys() == golden_hashes[name].keys() == set(KINDS)
    assert found == golden_hashes[name]


def change_value(line: dict[str, Any]) -> None:
    line["signals"]["pulse"]["value"] += 3e-9


def change_time(line: dict[str, Any]) -> None:
    line["ts"] += 2e-6


def change_count(line: dict[str, Any]) -> None:
    line["live"] += 1


def change_text(line: dict[str, Any]) -> None:
    line["mode"] = "other"


def change_type(line: dict[str, Any]) -> None:
    line["live"] = float(line["live"])


def drop_value(line: dict[str, Any]) -> None:
    line["signals"]["pulse"]["value"] = None


def drop_field(line: dict[str, Any]) -> None:
    del line["sync_bound_s"]


@pytest.mark.parametrize(
    "change",
    [change_value, change_time, change_count, change_text, change_type, drop_value, drop_field],
)
def test_a_changed_line_is_found(change: Any) -> None:
    golden = stored("rehearsal")
    changed = copy.deepcopy(golden)
    change(changed["fused"][100])
    found = list(differences(golden, changed))
    assert len(found) == 1
    assert found[0].startswith("fused:101")


def test_a_missing_line_is_found_and_last_bits_are_not() -> None:
    golden = stored("rehearsal")
    changed = copy.deepcopy(golden)
    changed["fused"][100]["signals"]["pulse"]["value"] += 1e-12
    assert not list(differences(golden, changed))
    del changed["sync"][-1]
    assert list(differences(golden, changed)) == ["sync: 17 lines, golden 18"]
