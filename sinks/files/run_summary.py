"""Contents of `run.json`: configuration, recordings, usage, account and files of one run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from configs.document import public_text
from configs.inert import inert
from configs.inputs import FileStream
from configs.schema import Config
from operators import native
from sinks.files.jsonl import Segments
from sinks.files.run_json import Account, Digests, usage, versions


def no_remarks(path: str) -> list[str]:
    """Return no remarks on a recording."""
    return []


def none_lost() -> tuple[int, str | None]:
    """Return that no message was lost."""
    return 0, None


class RunSummary:
    """Composes the contents of `run.json`.

    Parameters
    ----------
    config : Config
    path : str or None
        The configuration's file.
    remarks : callable
        Returns the remarks on a recording, given its path; a sentence each.
    messages_lost : callable
        Returns the number of messages that standard error did not accept, and the reason.
    topic : callable, optional
        Returns the topic of the run, with its partitions.
    """

    def __init__(
        self,
        config: Config,
        path: str | None,
        remarks: Callable[[str], list[str]] = no_remarks,
        messages_lost: Callable[[], tuple[int, str | None]] = none_lost,
        topic: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self._topic = topic
        self._config, self._path = config, path
        self._remarks, self._messages_lost = remarks, messages_lost
        self._digests = Digests()

    def compose(
        self,
        run_id: str,
        root: Path,
        files: Mapping[str, Mapping[str, Segments]],
        account: Account,
        *,
        part: int,
        events: int,
        ended: bool,
        aborted: bool,
        dead_lines_lost: int,
        batches_not_shown: int,
    ) -> dict[str, Any]:
        """Return the contents as plain values.

        Parameters
        ----------
        run_id : str
            The same in a resumed run.
        root : Path
            The output folder.
        files : mapping
            Segments by rig and stem.
        account : Account
        part : int
            Number of the part of the output.
        events : int
            Events that this process received.
        ended, aborted : bool
            All data ended; the run was aborted. Hashes of recordings are taken at the end only.
        dead_lines_lost, batches_not_shown : int
            Dead letters that were not written; batches that the live page, and findings that
            destinations, did not take.
        """
        streams = [s for s in self._config.streams if isinstance(s, FileStream)]
        paths = [path for each in files.values() for s in each.values() for path in s.paths()]
        messages_lost, why = self._messages_lost()
        return {
            "version": 1,
            "run_id": run_id,
            "versions": versions(),
            "kernels": native.form,
            "config": {"path": inert(self._path or "") or None, **self._config_text()},
            "recordings": [
                {
                    "path": inert(stream.path),
                    "sha256": self._digests.of(stream.path) if ended else None,
                    "bytes": _size(Path(stream.path)),
                    "remarks": self._remarks(stream.path),
                }
                for stream in streams
            ],
            **({} if self._topic is None else {"topic": dict(self._topic())}),
            "part": {"number": part, "of": self._config.output.parts},
            **usage(events),
            "hindsight": self._config.mode == "hindsight",
            "block_s": self._config.block_s(),
            "ended": ended,
            "aborted": aborted,
            "balanced": account.balanced(),
            "account": {"total": account.total(), "by_source": account.by_source},
            "dead_lines_lost": dead_lines_lost,
            "batches_not_shown": batches_not_shown,
            "messages_lost": {"count": messages_lost, "why": why},
            "rigs": sorted(files),
            "files": {p.relative_to(root).as_posix(): _size(p) for p in paths},
        }

    def _config_text(self) -> dict[str, str | None]:
        """Return the text and the hash of the configuration's file.

        The text is as written, without the values of `${NAME}`. Users and queries of URLs are
        starred; the hash is that of the file.
        """
        if self._path is None:
            return {"sha256": None, "text": None}
        with suppress(OSError):
            raw = Path(self._path).read_bytes()
            sha256 = hashlib.sha256(raw).hexdigest()
            return {"sha256": sha256, "text": public_text(raw.decode("utf-8-sig", "replace"))}
        return {"sha256": None, "text": None}


def _size(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_size
    return None
