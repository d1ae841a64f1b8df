"""Bad configurations of tests, and the faults by which they are refused."""

from __future__ import annotations

import time

import pytest

from configs.document import ConfigError
from configs.load import load
from tests.support.waiting import HUNG_S

BASE = """version: 2
streams: [{name: demo, type: file, path: demo.ndjson}]
signals: {pulse: {members: {"a:x": {group: ure}, "b:y": {}}}}
"""


HERE = "▶"
"""Stands before the character that the fault must name."""


def marked(text: str) -> tuple[str, int, int]:
    """Return the text without its mark, and the mark's line and column."""
    before = text.partition(HERE)[0]
    return text.replace(HERE, ""), before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1


def faults(path: str) -> list[str]:
    begun = time.process_time()
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert time.process_time() - begun < HUNG_S
    return refused.value.lines()
