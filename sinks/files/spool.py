"""Old segments that wait for the history, against `output.keep`, up to a size in all.

Cost: a look at the clock of the file system for each waiting segment, once a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sinks.files.jsonl import Segments, segment_path
from sinks.files.progress import STEMS, Place, taken_of


class Spool:
    """The segments of a run that wait for the history.

    Parameters
    ----------
    root : Path
        The output folder.
    most : float
        Largest size of waiting segments (bytes).

    Attributes
    ----------
    lost : int
        Lines that were removed before they were taken in.
    """

    def __init__(self, root: Path, most: float) -> None:
        self._root, self._most = root, most
        self.lost = 0

    def hold(self, run: str, files: Mapping[str, Mapping[str, Segments]]) -> None:
        """Hold the segments that are not taken in; beyond the size, the oldest may go."""
        old: list[tuple[int, int, int, Segments, int]] = []
        taken = None
        for rig, of_rig in files.items():
            for stem in STEMS:
                segments = of_rig.get(stem)
                if segments is None or segments.spare() <= segments.oldest:
                    continue
                taken = taken or taken_of(self._root)
                known = taken is not None and taken.run == run
                places = taken.places.get(rig, {}) if taken is not None and known else {}
                place = places.get(stem, Place())
                segments.held = place.segment
                for segment in range(max(place.segment, segments.oldest), segments.spare()):
                    first = max(place.lines, segments.lines_before(segment))
                    lines = segments.lines_before(segment + 1) - first
                    with suppress(OSError):
                        found = segment_path(segments.folder, stem, segment).stat()
                        old.append((found.st_mtime_ns, segment, found.st_size, segments, lines))
        total = sum(size for _, _, size, _, _ in old)
        for _, segment, size, segments, lines in sorted(old, key=lambda each: each[:2]):
            if total <= self._most:
                break
            segments.held = segment + 1
            total -= size
            self.lost += max(lines, 0)
