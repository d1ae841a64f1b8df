"""OSC over UDP or TCP: a thread reads the socket, decodes, and fills the inbox."""

from sources.osc.osc import OscReceiver, open_port, refusal

__all__ = ["OscReceiver", "open_port", "refusal"]
