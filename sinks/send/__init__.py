"""Destinations of a run: expressions over the newest tick, as OSC messages or MIDI."""

from sinks.send.send import Send, played

__all__ = ["Send", "played"]
