"""Old segments that wait for the followers of a run, against `output.keep`, up to a size in all.

Cost: a look at the clock of the file system for each waiting segment, once a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sinks.files.jsonl import Segments, segment_path
from sinks.files.progress import STEMS, FilePlace
from sinks.files.readers import Places, places_of


class FollowedSpool:
    """The segments of a run that wait for its followers.

    Parameters
    ----------
    root : Path
        The output folder.
    most : float
        Largest size of waiting segments (bytes).
    readers : mapping
        Files that each follower reads, by the name of its report.

    Attributes
    ----------
    lost : int
        Lines that were removed before they were taken in.
    """

    def __init__(self, root: Path, most: float, readers: Mapping[str, tuple[str, ...]]) -> None:
        self._root, self._most, self._readers = root, most, readers
        self.lost = 0

    def hold(self, run: str, files: Mapping[str, Mapping[str, Segments]]) -> None:
        """Hold the segments that are not taken in; beyond the size, the oldest may go."""
        old: list[tuple[int, int, int, Segments, int]] = []
        taken: dict[str, Places] | None = None
        for rig, of_rig in files.items():
            for stem in STEMS:
                segments = of_rig.get(stem)
                readers = [name for name, stems in self._readers.items() if stem in stems]
                if not readers or segments is None or segments.spare() <= segments.oldest:
                    continue
                if taken is None:
                    taken = {name: places_of(self._root, name, run) for name in self._readers}
                place = min(taken[n].get(rig, {}).get(stem, FilePlace()) for n in readers)
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
