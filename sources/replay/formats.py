"""The form of a recording in one sentence, found without reading it whole."""

from __future__ import annotations

from pathlib import Path

from configs.inputs import FileStream, is_delimited, is_mcap
from sources.delimited.dialect import LOOK, find
from sources.delimited.event_table import raw_head, table_in
from sources.mcap.channels import channels_of
from sources.mcap.channels import remarks as mcap_remarks
from sources.opening import columnar
from sources.recordings.recording import Recording, is_columnar, is_xdf
from sources.tape.reader import is_tape, read_manifest


def form_of(stream: FileStream) -> str:
    """Return the form of a recording as a sentence.

    Raises
    ------
    OSError, ValueError
        It cannot be used, with the reason.
    """
    path = stream.path
    if is_tape(path):
        segments = len(read_manifest(Path(path)).segments)
        return f"a tape of {_count(segments, 'segment')}"
    if is_delimited(path):
        start = raw_head(path, LOOK)
        if (events := table_in(path, start, stream.columns, stream.ts_unit)) is not None:
            return events.report()
        return find(path, start, stream.columns, stream.ts_unit).report()
    if is_mcap(path):
        found = channels_of(path)
        used = sum(each.encoding == "json" for each in found)
        rest = [each.partition(": ")[2] for each in mcap_remarks(path)]
        return "; ".join([f"MCAP, {_count(used, 'channel')} of JSON", *rest])
    if is_columnar(path):
        table = columnar(path, stream.follow)
        table.close()
        return f"{_count(table.total, 'row')} of columns"
    if is_xdf(path):
        return "XDF, whose clocks are corrected as it is read"
    recording = Recording(path, stream.follow)
    recording.close()
    return f"{recording.size:,} bytes of lines"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
