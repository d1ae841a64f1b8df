"""A JACK server without hardware for a test, and real MIDI senders on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ops.fakes.jack_server import JackServer, end, missing, serving

__all__ = ["JackServer", "end", "jack", "needs_jack"]

_MISSING = missing("jackd", "jack_midiseq", "jack_midi_clock")
needs_jack = pytest.mark.skipif(_MISSING is not None, reason=_MISSING or "")


@contextmanager
def jack(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    """Run a server which this process's clients find."""
    name = f"lumen-test-{os.getpid()}"
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
    with serving(name) as server:
        yield server
