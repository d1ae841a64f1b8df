"""The consumer that writes files: lines of each rig in its folder, and `run.json`.

Files are written in the order of the packets. A snapshot holds the position in each file and the
account, taken when all earlier lines are on the disk. A resumed run truncates the files to these
positions, so that no line is written twice.

State: the segments' positions and the account (at most 258 names).
Cost: one write a file and batch, and one for each long piece of lines. No file is held open, so
that the rigs of a run are not limited by the descriptors of the process.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from configs.files import ACCESS, LinkError
from configs.schema import Config
from operators.records import Packet
from operators.types import State
from sinks.files.aside import lessen
from sinks.files.encode import packet_lines
from sinks.files.folder import HINDSIGHT, RUN, Folder, rig_folder
from sinks.files.jsonl import Position, Segments, segment_path
from sinks.files.parts import part_folder
from sinks.files.progress import Final, RigFiles
from sinks.files.readers import readers_of, topics_of
from sinks.files.run_json import Account, versions, write_run
from sinks.files.run_summary import RunSummary
from sinks.files.spool import FollowedSpool

MIN_WRITE = 1 << 16
"""Lines of so many bytes are written at once, out of the processor's cache."""
_MB = 1_000_000


class ResultFiles:
    """All files of a run while it runs.

    Parameters
    ----------
    config : Config
    rigs : sequence of str
        Known before the run. If it is one, its files lie in `output.dir` itself; all others, and
        those of a run with several parts or of a topic, have a folder each.
    summary : RunSummary
    part : int
        Number of this part of the output.
    durable : bool
        Recovery is on: snapshots survive a loss of power.
    state : State or None
        A snapshot to resume from; None replaces the files of an earlier run.
    batches_not_shown : callable
        Returns the number of batches that the other consumers did not take.

    Attributes
    ----------
    home : str or None
        The rig whose files lie in `output.dir` itself.

    Raises
    ------
    FolderError
        The folder is in use, or holds files that no run wrote.
    """

    missed = 0

    def __init__(
        self,
        config: Config,
        rigs: Sequence[str],
        summary: RunSummary,
        *,
        part: int = 0,
        durable: bool,
        resumed: State | None = None,
        batches_not_shown: Callable[[], int] = lambda: 0,
    ) -> None:
        self._config, self._summary, self._durable = config, summary, durable
        self._batches_not_shown = batches_not_shown
        self._access = ACCESS[config.output.mode]
        self._account = Account.from_snapshot(resumed["account"]) if resumed else Account()
        self._received_before = self._account.total()["received"]
        self._ended: dict[str, bool] = {}
        self._dead_lines_lost = 0
        self._reported_unkept: set[str] = set()
        self._stems = ["fused", "sync", "dead", "markers"]
        if config.bridge:
            self._stems.append("bridge")
        # Advice of the bridge's calibrator is evidence too.
        if config.bridge or (config.evidence and config.evidence.rules):
            self._stems.append("evidence")
        if config.output.aligned:
            self._stems.append("aligned")
        self._files: dict[str, dict[str, Segments]] = {}
        self._published: Final | None = None
        self._run = resumed["run"] if resumed and "run" in resumed else _new_run()
        self._part = part
        alone = len(rigs) == 1 and config.output.parts == 1 and config.topic is None
        self.home: str | None = rigs[0] if alone else None
        self.folder = Folder(part_folder(config.output, part), self._access)
        keep = (HINDSIGHT,) if config.mode == "hindsight" else ()
        self.folder.take(fresh=resumed is None, keep=keep)
        self._spool: FollowedSpool | None = None
        self._committed: dict[str, dict[str, Position]] = resumed["files"] if resumed else {}
        self._readers = readers_of(config)
        if self._readers:
            sizes = [each.spool_mb for each in topics_of(config)]
            sizes += [config.store.spool_mb] if config.store else []
            most = max(sizes) * _MB
            self._spool = FollowedSpool(self.folder.root, most, self._readers)
            if resumed is None:
                self._spool.lost = lessen(self.folder.root, most)
        try:
            if resumed is None:
                self._begin(rigs)
            else:
                self._resume(resumed)
            self._publish(whole=not durable)
        except BaseException:
            self.folder.release()
            raise

    def start(self, rig: str | None = None) -> None:
        """Do nothing: the files are open for writing once the folder is taken."""

    def consume(self, packets: list[Packet]) -> None:
        """Write the lines of the packets; few lines wait for those of the next packets."""
        few: dict[tuple[str, str], list[bytes]] = {}
        self._begin(dict.fromkeys(p.rig for p in packets if p.rig not in self._files))
        for packet in packets:
            self._account.add(packet)
            for stem, text in packet_lines(packet):
                if not text:
                    continue
                few.setdefault((packet.rig, stem), []).append(text)
                if len(text) >= MIN_WRITE:
                    self._write(packet.rig, stem, few.pop((packet.rig, stem)))
            self._ended[packet.rig] = packet.end
        for (rig, stem), texts in few.items():
            self._write(rig, stem, texts)
        if any(packet.end for packet in packets):
            self._write_run()

    def snapshot(self) -> State:
        """Return the positions and the account, once all earlier lines are on the disk."""
        if self._spool is not None:
            self._spool.hold(self._run["id"], self._files)
        positions = {
            rig: {stem: segments.snapshot() for stem, segments in files.items()}
            for rig, files in self._files.items()
        }
        self._report_unkept()
        # The engine stores this snapshot later: only those before it are final.
        self._publish(whole=not self._durable)
        self._committed = positions
        return {
            "run": self._run,
            "lines": {
                rig: {stem: segments.lines() for stem, segments in files.items()}
                for rig, files in self._files.items()
            },
            "home": self.home,
            "files": positions,
            "ended": self._ended,
            "lost": self._dead_lines_lost,
            "account": self._account.snapshot(),
        }

    def abort(self) -> None:
        """Mark the run as aborted: its results end at this point."""
        with suppress(OSError):
            self._write_run(aborted=True)

    def stop(self) -> None:
        """Write `run.json`, check the account, and release the folder."""
        self._publish(whole=not self._durable or self._has_ended())
        try:
            self._write_run()
        except OSError as error:  # possibly the very error that ends the run
            print(f"lumen: {RUN} is not up to date: {error}", file=sys.stderr)
        if self._has_ended() and not self._account.balanced():
            total = self._account.total()
            print(f"lumen: a bug: the account does not balance: {total}", file=sys.stderr)
        self.folder.release()

    def _publish(self, *, whole: bool) -> None:
        """Publish what is final for the followers; an error is no end of the run."""
        if self._spool is None:
            return
        rigs = {
            rig: RigFiles(
                self._folder(rig).relative_to(self.folder.root).as_posix(),
                {} if whole else dict(self._committed.get(rig, {})),
            )
            for rig in self._files
        }
        run = self._run
        final = Final(
            run["id"],
            run["started"],
            run["version"],
            os.getpid(),
            whole,
            self._spool.lost,
            rigs,
            self._readers,
        )
        if final != self._published:
            with suppress(OSError):
                final.write(self.folder.root, self._access)
                self._published = final

    def _report_unkept(self) -> None:
        """Report each file of which an old segment cannot be removed, once a file."""
        for segments in (s for files in self._files.values() for s in files.values()):
            name = f"{segments.folder}/{segments.stem}"
            if segments.unkept is not None and name not in self._reported_unkept:
                self._reported_unkept.add(name)
                print(f"lumen: old segments stay: {segments.unkept}", file=sys.stderr)

    def _begin(self, rigs: Iterable[str]) -> None:
        """Begin the files of rigs, all announced at once."""
        folders = {rig: self._folder(rig) for rig in rigs}
        for folder in folders.values():
            folder.mkdir(mode=self._access.folder, exist_ok=True)
            if folder != self.folder.root and folder.is_symlink():
                raise LinkError(errno.ELOOP, "a link, not a folder", str(folder))
        if folders:
            self.folder.announce(
                [
                    segment_path(folder, stem, 0)
                    for folder in folders.values()
                    for stem in self._stems
                ]
            )
        for rig in folders:
            self._files[rig] = {stem: self._segments(rig, stem, None) for stem in self._stems}

    def _resume(self, state: State) -> None:
        self.home, self._ended = state["home"], state["ended"]
        self._dead_lines_lost = state["lost"]
        # All files are checked before any of them is changed.
        for rig, positions in state["files"].items():
            lines = state.get("lines", {}).get(rig, {})
            self._files[rig] = {
                stem: self._segments(rig, stem, tuple(at), lines.get(stem, ()))
                for stem, at in positions.items()
            }
        ours = {segments.folder for files in self._files.values() for segments in files.values()}
        for name in self.folder.known() - {RUN, HINDSIGHT}:
            path = self.folder.root / name
            if path.parent not in ours:  # of a rig that was first seen after the snapshot
                path.unlink(missing_ok=True)
        for files in self._files.values():
            for segments in files.values():
                segments.trim()

    def _folder(self, rig: str) -> Path:
        return self.folder.root if rig == self.home else self.folder.root / rig_folder(rig)

    def _segments(
        self, rig: str, stem: str, position: Position | None, lines: Sequence[Position] = ()
    ) -> Segments:
        return Segments(
            self._folder(rig),
            stem,
            limit=int(self._config.output.rotate_mb * _MB),
            keep=self._config.output.keep,
            durable=self._durable,
            access=self._access,
            announce=lambda path: self.folder.announce([path]),
            position=position,
            lines=lines,
        )

    def _write(self, rig: str, stem: str, texts: list[bytes]) -> None:
        segments, lines = self._files[rig][stem], b"".join(texts)
        if segments.stem != "dead":
            segments.write(lines)
            return
        try:
            segments.write(lines)
        except OSError as error:  # a failure to record losses must not end the run
            if not self._dead_lines_lost:
                print(f"lumen: dead letters are being lost: {error}", file=sys.stderr)
            self._dead_lines_lost += lines.count(b"\n")
            with suppress(OSError):
                segments.trim()

    def _has_ended(self) -> bool:
        """Whether the data of every rig with events have ended."""
        return bool(self._ended) and all(self._ended.values())

    def _write_run(self, aborted: bool = False) -> None:
        run = self._summary.compose(
            self._run["id"],
            self.folder.root,
            self._files,
            self._account,
            part=self._part,
            events=self._account.total()["received"] - self._received_before,
            ended=self._has_ended() and not aborted,
            aborted=aborted,
            dead_lines_lost=self._dead_lines_lost,
            batches_not_shown=self._batches_not_shown(),
        )
        write_run(self.folder.root / RUN, run, self._access)


def _new_run() -> dict[str, Any]:
    started = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))
    version = versions()["lumen"] or ""
    return {"id": f"{stamp}-{secrets.token_hex(4)}", "started": started, "version": version}
