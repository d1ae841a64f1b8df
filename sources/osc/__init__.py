"""OSC over UDP or TCP: a thread that reads the socket, decodes, and puts into the inbox."""

from sources.osc.osc import OscReceiver, open_port, refusal

__all__ = ["OscReceiver", "open_port", "refusal"]
