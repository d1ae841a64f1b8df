"""An XDF file (LabRecorder, Lab Streaming Layer) as rows of a recording."""

from sources.xdf.xdf import XdfRecording, load

__all__ = ["XdfRecording", "load"]
