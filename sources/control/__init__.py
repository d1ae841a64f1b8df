"""Control socket: commands of persons to the bridge of a live run."""

from sources.control.command_socket import CommandSocket
from sources.control.sender import listening, send

__all__ = ["CommandSocket", "listening", "send"]
