"""Destinations of a run: expressions over the newest tick, as OSC messages or MIDI.

This file imports nothing: the OSC worker's process runs without the installed packages.
"""
