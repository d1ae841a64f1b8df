"""MIDI: the messages of a port as channels, each stamped when the driver had it."""

from sources.midi.midi import MidiReceiver

__all__ = ["MidiReceiver"]
