"""Fixtures of tests of reports."""

import pytest

from ops.report import figures as pictures
from ops.report import plotting as canvas


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Draw at low resolution: these tests read the text."""
    monkeypatch.setattr(canvas, "DPI", 30)


@pytest.fixture
def text_only(monkeypatch):
    """Draw nothing."""
    monkeypatch.setattr(pictures, "pictures", lambda rig: iter(()))
