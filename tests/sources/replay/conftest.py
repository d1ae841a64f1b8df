"""Partitions that a test opened are closed at its end."""

import pytest

from tests.sources.replay.replayed import close_all


@pytest.fixture(autouse=True, scope="module")
def all_closed():
    yield
    close_all()


@pytest.fixture(autouse=True)
def closed():
    yield
    close_all()
