"""The one exit: all that a run writes, a folder a rig, and `run.json`.

One partition writes everything, in the order of the packets. Its snapshot is the position in
each file and the account, taken when all before it is on the disk; a run that goes on from it
cuts the files back to there, so that nothing is written twice.
"""

from __future__ import annotations

import errno
import hashlib
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from configs.document import public_text
from configs.files import ACCESS, LinkError
from configs.inert import inert
from configs.schema import Config, FileStream
from operators.records import Packet
from operators.snapshot import decode_state, encode_state
from operators.types import State
from operators.unusable import UnusableStreams
from sinks.advice.unusable_streams import AFTER_ARRIVAL, count
from sinks.files.encode import packet_lines
from sinks.files.folder import HINDSIGHT, RUN, Folder, rig_folder
from sinks.files.jsonl import Position, Segments, segment_path
from sinks.files.run_json import Account, Digests, usage, versions, write_run
from sinks.send import Send

if TYPE_CHECKING:
    from sinks.exporter.server import Server

_MB = 1_000_000


def preflight(config: Config) -> None:
    """Refuse an output folder in use, or with files that no run wrote, before anything starts.

    Raises
    ------
    FolderError
        The folder cannot be used. Nothing has been changed.
    """
    Folder(Path(config.output.dir)).check()


class Output(FixedPartitionedSink[Packet, bytes]):
    """Everything that a run writes.

    Parameters
    ----------
    config : Config
        Of the run.
    rigs : tuple of str
        Known before the run. If it is one, its files lie in `output.dir` itself; all others
        have a folder each.
    path : str or None
        The configuration's file.
    fingerprint : str
        Of the configuration.
    keep : bool
        Recovery is on.
    send : Send or None
        What plays the run, if anything does: the ticks of the only rig, or of the config's.
    server : Server or None
        What shows the run, if anything does.
    remarks : callable
        Returns the remarks on a recording, given its path; a sentence each.
    unsaid : callable
        Returns how many messages standard error did not take, and why.
    """

    def __init__(
        self,
        config: Config,
        rigs: tuple[str, ...],
        path: str | None,
        fingerprint: str,
        keep: bool,
        send: Send | None = None,
        server: Server | None = None,
        remarks: Callable[[str], list[str]] = lambda _: [],
        unsaid: Callable[[], tuple[int, str | None]] = lambda: (0, None),
    ) -> None:
        self.config = config
        self.remarks, self.unsaid = remarks, unsaid
        self.rigs = rigs or (config.rig,)
        self.path = path
        self.fingerprint = fingerprint
        self.keep = keep
        self.send = send
        self.server = server
        self.exit: Exit | None = None

    def abort(self) -> None:
        """Write in `run.json` that the run is aborted, and end what sounds."""
        if self.exit is not None:
            self.exit.abort()

    def list_parts(self) -> list[str]:
        """Return the one constant name."""
        return ["out"]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> Exit:
        """Begin anew, or go on from a snapshot."""
        state = None
        if resume_state is not None:
            state = decode_state(resume_state, "output", self.fingerprint)
        self.exit = Exit(self, state)
        return self.exit


class Exit(StatefulSinkPartition[Packet, bytes]):
    """The files of a run while it runs."""

    def __init__(self, output: Output, state: State | None) -> None:
        self.output = output
        self.config = output.config
        self.access = ACCESS[self.config.output.mode]
        self.folder = Folder(Path(self.config.output.dir), self.access)
        keep = (HINDSIGHT,) if self.config.mode == "hindsight" else ()
        self.folder.take(fresh=state is None, keep=keep)
        self.account = Account(state["account"] if state else None)
        self.before = self.account.total()["received"]
        self.home: str | None = output.rigs[0] if len(output.rigs) == 1 else None
        self.ended: dict[str, bool] = {}
        self.lost = self.unshown = 0
        self.unkept: set[str] = set()
        self.refusals = UnusableStreams()
        self.digests = Digests()
        self.stems = ["fused", "sync", "dead", "markers"]
        if self.config.evidence and self.config.evidence.rules:
            self.stems.append("evidence")
        if self.config.output.aligned:
            self.stems.append("aligned")
        self.files: dict[str, dict[str, Segments]] = {}
        try:
            if state is None:
                for rig in output.rigs:
                    self._begin(rig)
            else:
                self._resume(state)
            if output.server is not None:
                output.server.start()
        except BaseException:
            self.folder.release()
            raise
        if output.send is not None:
            output.send.start()

    def write_batch(self, values: list[Packet]) -> None:
        """Write what the packets hold: one write a file."""
        lines: dict[tuple[str, str], list[bytes]] = {}
        for packet in values:
            if self.output.send is not None and packet.rig == (self.home or self.config.rig):
                self.output.send.tell(packet)
            self.account.add(packet)
            for source, _, note in packet.notes:
                print(f"lumen: {source}: {note}", file=sys.stderr)
            for stem, text in packet_lines(packet):
                if text:
                    lines.setdefault((packet.rig, stem), []).append(text)
            if packet.rig not in self.files:
                self._begin(packet.rig)
            self.ended[packet.rig] = packet.end
        if self.config.live:
            self._say_refused(values)
        for (rig, stem), texts in lines.items():
            self._write(self.files[rig][stem], b"".join(texts))
        self._show(values)
        if any(packet.end for packet in values):
            self._write_run()

    def _show(self, values: list[Packet]) -> None:
        """Show the packets; a page that cannot be kept up is counted, and ends no run."""
        if self.output.server is None:
            return
        try:
            self.output.server.tell(values)
        except Exception as error:
            if not self.unshown:
                text = f"{type(error).__name__}: {error}"
                print(f"lumen: a bug: the page is not kept up: {text}", file=sys.stderr)
            self.unshown += 1

    def _say_refused(self, packets: list[Packet]) -> None:
        """Say of which streams most is late or wild; what else is refused, the sources say."""
        now = time.monotonic()
        for packet in packets:
            count(self.refusals, packet, now, self.config.stream_of)
        for refusal in self.refusals.due(now):
            if refusal.reasons[0][0] in AFTER_ARRIVAL:
                print(f"lumen: {refusal.stream}: {refusal.text()}", file=sys.stderr)

    def snapshot(self) -> bytes:
        """Return where the files end, once all before it is on the disk."""
        positions = {
            rig: {stem: segments.snapshot() for stem, segments in files.items()}
            for rig, files in self.files.items()
        }
        self._note_unkept()
        if not self.output.keep:
            return b""
        state = {
            "home": self.home,
            "files": positions,
            "ended": self.ended,
            "lost": self.lost,
            "account": self.account.snapshot(),
        }
        return encode_state(state, "output", self.output.fingerprint)

    def _note_unkept(self) -> None:
        """Name the file of which an old segment cannot be removed, once a file."""
        for segments in (s for files in self.files.values() for s in files.values()):
            name = f"{segments.folder}/{segments.stem}"
            if segments.unkept is not None and name not in self.unkept:
                self.unkept.add(name)
                print(f"lumen: old segments stay: {segments.unkept}", file=sys.stderr)

    def abort(self) -> None:
        """Mark the run as aborted: its results end where they are. Lasts under a second."""
        with suppress(OSError):
            self._write_run(aborted=True)
        if self.output.send is not None:
            self.output.send.stop()

    def close(self) -> None:
        """Say how the run went, and let others have the folder."""
        if self.output.send is not None:
            self.output.send.stop()
        if self.output.server is not None:
            self.output.server.stop()
        try:
            self._write_run()
        except OSError as error:  # the run may be ending because of just that
            print(f"lumen: {RUN} is not up to date: {error}", file=sys.stderr)
        if self._has_ended() and not self.account.balanced():
            total = self.account.total()
            print(f"lumen: a bug: the account does not balance: {total}", file=sys.stderr)
        self.folder.release()

    def _begin(self, rig: str) -> None:
        folder = self._folder(rig)
        folder.mkdir(mode=self.access.folder, exist_ok=True)
        if folder != self.folder.root and folder.is_symlink():
            raise LinkError(errno.ELOOP, "a link, not a folder", str(folder))
        self.folder.announce([segment_path(folder, stem, 0) for stem in self.stems])
        self.files[rig] = {stem: self._segments(rig, stem, None) for stem in self.stems}

    def _resume(self, state: State) -> None:
        self.home, self.ended, self.lost = state["home"], state["ended"], state["lost"]
        # All are looked at before any is changed.
        for rig, positions in state["files"].items():
            self.files[rig] = {
                stem: self._segments(rig, stem, tuple(at)) for stem, at in positions.items()
            }
        ours = {segments.folder for files in self.files.values() for segments in files.values()}
        for name in self.folder.known() - {RUN, HINDSIGHT}:
            path = self.folder.root / name
            if path.parent not in ours:  # of a rig that was first seen after the snapshot
                path.unlink(missing_ok=True)
        for files in self.files.values():
            for segments in files.values():
                segments.trim()

    def _folder(self, rig: str) -> Path:
        return self.folder.root if rig == self.home else self.folder.root / rig_folder(rig)

    def _segments(self, rig: str, stem: str, position: Position | None) -> Segments:
        return Segments(
            self._folder(rig),
            stem,
            limit=int(self.config.output.rotate_mb * _MB),
            keep=self.config.output.keep,
            durable=self.output.keep,
            access=self.access,
            announce=lambda path: self.folder.announce([path]),
            position=position,
        )

    def _write(self, segments: Segments, lines: bytes) -> None:
        if segments.stem != "dead":
            segments.write(lines)
            return
        try:
            segments.write(lines)
        except OSError as error:  # what tells of losses must not add to them
            if not self.lost:
                print(f"lumen: dead letters are being lost: {error}", file=sys.stderr)
            self.lost += lines.count(b"\n")
            with suppress(OSError):
                segments.trim()

    def _has_ended(self) -> bool:
        """Whether all rigs whose events came have come to the end of their data."""
        return bool(self.ended) and all(self.ended.values())

    def _write_run(self, aborted: bool = False) -> None:
        ended = self._has_ended() and not aborted
        total = self.account.total()
        streams = [s for s in self.config.streams if isinstance(s, FileStream)]
        writers = [segments for files in self.files.values() for segments in files.values()]
        paths = [path for segments in writers for path in segments.paths()]
        messages_lost, why = self.output.unsaid()
        run = {
            "version": 1,
            "versions": versions(),
            "config": {"path": inert(self.output.path or "") or None, **self._config_text()},
            "recordings": [
                {
                    "path": inert(stream.path),
                    "sha256": self.digests.of(stream.path) if ended else None,
                    "bytes": _size(Path(stream.path)),
                    "remarks": self.output.remarks(stream.path),
                }
                for stream in streams
            ],
            **usage(total["received"] - self.before),
            "hindsight": self.config.mode == "hindsight",
            "ended": ended,
            "aborted": aborted,
            "balanced": self.account.balanced(),
            "account": {"total": total, "by_source": self.account.by_source},
            "dead_lines_lost": self.lost,
            "batches_not_shown": self.unshown,
            "messages_lost": {"count": messages_lost, "why": why},
            "rigs": sorted(self.files),
            "files": {p.relative_to(self.folder.root).as_posix(): _size(p) for p in paths},
        }
        write_run(self.folder.root / RUN, run, self.access)

    def _config_text(self) -> dict[str, str | None]:
        """Return the configuration's file and its hash, so that the folder tells what made it.

        As it was written: what `${NAME}` stands for is not in it. Users and queries of URLs are
        starred; the hash is that of the file.
        """
        if self.output.path is None:
            return {"sha256": None, "text": None}
        with suppress(OSError):
            raw = Path(self.output.path).read_bytes()
            sha256 = hashlib.sha256(raw).hexdigest()
            return {"sha256": sha256, "text": public_text(raw.decode("utf-8-sig", "replace"))}
        return {"sha256": None, "text": None}


def _size(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_size
    return None
