"""Routes of the read-only API.

| path | rows |
|---|---|
| `/v1/rigs` | rigs of the run and of the history, with their newest tick |
| `/v1/streams` | streams: expected, up, age |
| `/v1/history/{ticks,signals,sync,evidence,minutes}` | a page of the history of one rig |
| `/v1/snapshots` | snapshots of the history |
| `/v1/gate` | the last judgement of `lumen gate --out` |

Rows are JSON lines, or one JSON document where the Accept header prefers `application/json`.
Without the configured key a resource is 404; where store or file is away, 503 with Retry-After.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from configs.files import read_own
from configs.schema import Config, RecordedStream
from operators.types import MODES
from sinks.exporter.answers import (
    JSON,
    LINES,
    Answer,
    Request,
    asked,
    numbers,
    text_answer,
    wants_json,
)
from sinks.exporter.api.history_pages import (
    DEFAULT_ROWS,
    MAX_ROWS,
    RESOURCES,
    HistoryPages,
    Kind,
    UnknownRigError,
)
from sinks.exporter.live_state import LiveState
from sinks.history.back_end import AwayError, HistoryError, QueryEndedError
from sinks.snapshots.listing import listed
from sinks.snapshots.names import SNAPSHOTS

PREFIX = "/v1/"
HISTORY = f"{PREFIX}history/"
PATHS = (
    *(f"{PREFIX}{name}" for name in ("rigs", "streams", "snapshots", "gate")),
    *(f"{HISTORY}{kind}" for kind in RESOURCES),
)
AFTER = "Lumen-After"
"""The header with the key of a page's last row."""
MAX_GATE = 256 << 10
"""Bytes of a judgement."""
AWAY_S = 5
_encode = msgspec.json.encode


class ApiRoutes:
    """Handlers of the API, by path.

    Parameters
    ----------
    config : Config
    board : LiveState, optional
        Of a run; without one, rigs are those of the history, and states of streams are unknown.
    """

    def __init__(self, config: Config, board: LiveState | None = None) -> None:
        self._config, self._board = config, board
        self.pages = HistoryPages(config.store.dsn) if config.store is not None else None
        self.routes: dict[str, Callable[[Request], Answer]] = {
            f"{PREFIX}rigs": self._rigs,
            f"{PREFIX}streams": self._streams,
            f"{PREFIX}snapshots": self._snapshots,
            f"{PREFIX}gate": self._gate,
            **{f"{HISTORY}{kind}": partial(self._history, kind) for kind in RESOURCES},
        }

    def away(self) -> str:
        """Return why the history does not answer; empty where it does."""
        if self.pages is None:
            return "the configuration has no key store"
        try:
            with self.pages.pool.reader() as store:
                list(store.rows("SELECT count(*) FROM meta"))
        except (HistoryError, AwayError, QueryEndedError) as error:
            return _away(error)[2].decode().strip().rstrip(".")
        return ""

    def close(self) -> None:
        """Close the connections to the store."""
        if self.pages is not None:
            self.pages.pool.close()

    def _history(self, kind: Kind, request: Request) -> Answer:
        if self.pages is None:
            return _missing("store")
        try:
            given = asked(request.query, "rig", "from", "to", "limit", "after")
            rig, after = given.pop("rig", ""), given.pop("after", None)
            known = numbers(given)
            since, until = known.get("from"), known.get("to")
            limit = known.get("limit", float(DEFAULT_ROWS))
            if not rig:
                raise ValueError(f"rig has to be given; {PREFIX}rigs lists them")
            if since is not None and until is not None and since > until:
                raise ValueError("from has to be at most to")
            if not (1 <= limit <= MAX_ROWS and limit.is_integer()):
                raise ValueError(f"limit has to be a whole number from 1 to {MAX_ROWS}")
            page = self.pages.page(kind, rig, since, until, int(limit), after)
        except UnknownRigError:
            return text_answer(404, f"The history has no such rig; {PREFIX}rigs lists them.")
        except (HistoryError, AwayError, QueryEndedError) as error:
            return _away(error)
        except ValueError as error:
            return text_answer(400, f"{error}.")
        headers = {} if page.after is None else {AFTER: page.after}
        if page.more:
            again = {"rig": rig} | {n: repr(known[n]) for n in ("from", "to") if n in known}
            on = urlencode({**again, "limit": int(limit), "after": page.after})
            headers["Link"] = f'<{HISTORY}{kind}?{on}>; rel="next"'
        if wants_json(request.accept):
            rows = [msgspec.Raw(row) for row in page.rows]
            body = _encode({"rows": rows, "after": page.after, "more": page.more})
            return 200, {"Content-Type": JSON, **headers}, body
        return 200, {"Content-Type": LINES, **headers}, b"".join(row + b"\n" for row in page.rows)

    def _rigs(self, request: Request) -> Answer:
        found: dict[str, dict[str, Any]] = {}
        if self.pages is not None:
            try:
                found = {row["rig"]: row for row in self.pages.rigs()}
            except (HistoryError, AwayError, QueryEndedError) as error:
                if self._board is None:
                    return _away(error)
        elif self._board is None:
            return _missing("store")
        if self._board is not None:
            with self._board.reading():
                for rig, panel in self._board.panels.items():
                    row: dict[str, Any] = {"rig": rig, "ts": None, "mode": None, "live": None}
                    if (fused := panel.fused) is not None:
                        row["ts"] = float(fused.ts[-1])
                        row["mode"] = MODES[int(fused.mode[-1])]
                        row["live"] = int(fused.live[-1])
                    if row["ts"] is not None or rig not in found:
                        found[rig] = row
        return _rows(request, [found[rig] for rig in sorted(found)])

    def _streams(self, request: Request) -> Answer:
        rows: list[dict[str, Any]] = []
        if self._board is None:
            rows = [
                {"rig": self._config.rig, "stream": stream.name, "expected": None, "up": None,
                 "age_s": None}
                for stream in self._config.streams
                if not isinstance(stream, RecordedStream)
            ]  # fmt: skip
        else:
            with self._board.reading():
                now = self._board.clock()
                for rig, panel in self._board.panels.items():
                    expected = panel.expected
                    rows += [
                        {"rig": rig, "stream": name, "expected": expected[name],
                         "up": panel.up[name],
                         "age_s": now - last if name in panel.newest else None}
                        for name, last in panel.last_event.items()
                        if name in expected
                    ]  # fmt: skip
        return _rows(request, rows)

    def _snapshots(self, request: Request) -> Answer:
        if self._config.store is None:
            return _missing("store")
        found = listed(self._folder(self._config.store.dsn))
        return _rows(request, [snapshot._asdict() for snapshot in found])

    def _folder(self, dsn: str) -> Path:
        """Return the folder of snapshots: beside the store, or the output of a server's store."""
        sqlite = dsn.startswith("sqlite:")
        beside = dsn.removeprefix("sqlite:") if sqlite else self._config.output.dir
        return Path(beside).parent / SNAPSHOTS

    def _gate(self, request: Request) -> Answer:
        exporter = self._config.exporter
        path = exporter.gate_file if exporter is not None else None
        if path is None:
            return _missing("exporter.gate_file")
        try:
            asked(request.query)  # no parameter
            body = read_own(Path(path), MAX_GATE)
            judgement = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return text_answer(503, "There is no judgement.", Retry_After=str(AWAY_S))
        except ValueError as error:
            return text_answer(400, f"{error}.")
        return 200, {"Content-Type": JSON}, _encode(judgement)


def _rows(request: Request, rows: list[dict[str, Any]]) -> Answer:
    """Return rows as lines, or as a document."""
    try:
        asked(request.query)
    except ValueError as error:
        return text_answer(400, f"{error}.")
    if wants_json(request.accept):
        return 200, {"Content-Type": JSON}, _encode({"rows": rows})
    return 200, {"Content-Type": LINES}, b"".join(_encode(row) + b"\n" for row in rows)


def _missing(key: str) -> Answer:
    return text_answer(404, f"The configuration has no key {key}.")


def _away(error: Exception) -> Answer:
    """Return 503; the message of the error may name paths and hosts, and is not shown."""
    if isinstance(error, QueryEndedError):
        return text_answer(
            503, "The query took too long: ask for a shorter span.", Retry_After=str(AWAY_S)
        )
    text = "does not answer now" if isinstance(error, AwayError) else "cannot be used"
    return text_answer(503, f"The history {text}.", Retry_After=str(AWAY_S))
