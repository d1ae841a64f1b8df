"""A minimal configuration for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from configs.document import ConfigError
from configs.load import Loaded, load

BASE = """version: 2
streams: [{name: demo, type: file, path: demo.ndjson}]
signals: {pulse: {members: {"a:x": {group: ure}, "b:y": {}}}}
"""


def loaded(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    Path("c.yaml").write_text(text, "utf-8")
    return load("c.yaml", environ or {})


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loaded(text)
    return error.value.lines()
