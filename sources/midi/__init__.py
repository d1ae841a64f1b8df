"""MIDI: the messages of a port as channels, stamped at their receipt by the driver."""

from sources.midi.midi import MidiReceiver

__all__ = ["MidiReceiver"]
