"""What is answered to a request: pages out of the board, known to nothing of sockets.

| path | |
|---|---|
| `exporter.path` | the metrics |
| `/healthz` | the process lives |
| `/readyz` | data are fresh, else 503 |
| `/evidence/bundle` | findings since the start, a page at a time |
| `/state` | what the live page shows |
| `/` | the live page |

All others are 404, all methods but GET 405.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlencode

from sinks.board import Board
from sinks.metrics import CONTENT_TYPE, Page
from sinks.state import state

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""
MOST, USUAL = 1_000, 100
"""Findings a page."""
BUNDLE = "/evidence/bundle"
_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"
_LIVE = Path(__file__).with_name("page") / "index.html"
_POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


class Pages:
    """All pages of a run.

    Parameters
    ----------
    path : str
        Of the metrics.
    board : Board
    """

    def __init__(self, path: str, board: Board) -> None:
        self._board = board
        self._metrics = Page(board)
        self._live = _LIVE.read_bytes()
        self.routes = {
            path: self._page,
            "/healthz": self._health,
            "/readyz": self._ready,
            BUNDLE: self._bundle,
            "/state": self._state,
            "/": self._index,
        }

    def answer(self, method: str, path: str, query: str) -> Answer:
        """Return what is answered; never raises, whatever is asked."""
        found = self.routes.get(path)
        if found is None:
            status, headers, body = _said(404, "There is no such page.")
        elif method != "GET":
            status, headers, body = _said(405, "Only GET is answered.", Allow="GET")
        else:
            status, headers, body = found(query)
        usual = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return status, usual | headers, body

    def _page(self, query: str) -> Answer:
        return 200, {"Content-Type": CONTENT_TYPE}, self._metrics.text()

    def _health(self, query: str) -> Answer:
        return _said(200, "ok")

    def _ready(self, query: str) -> Answer:
        why = self._board.stale()
        return _said(503, f"not ready: {why}") if why else _said(200, "ready")

    def _bundle(self, query: str) -> Answer:
        try:
            asked = _numbers(query)
            since, after = asked.get("since", -1e15), asked.get("after", -1.0)
            limit = asked.get("limit", float(USUAL))
            if not (1 <= limit <= MOST and limit.is_integer()):
                raise ValueError(f"limit has to be a whole number from 1 to {MOST}")
            if not (-1 <= after <= 1e15 and after.is_integer()):
                raise ValueError("after has to be a whole number, as a Link gave it")
        except ValueError as error:
            return _said(400, f"{error}.")
        found, more = self._board.found(since, int(after), int(limit))
        headers = {"Content-Type": "application/jsonl"}
        if more:
            again = {"since": repr(asked["since"])} if "since" in asked else {}
            on = urlencode({**again, "after": found[-1].number, "limit": int(limit)})
            headers["Link"] = f'<{BUNDLE}?{on}>; rel="next"'
        return 200, headers, b"".join(finding.line for finding in found)

    def _state(self, query: str) -> Answer:
        return 200, {"Content-Type": _JSON}, state(self._board)

    def _index(self, query: str) -> Answer:
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _POLICY}
        return 200, headers, self._live


def _said(status: int, text: str, **headers: str) -> Answer:
    return status, {"Content-Type": _TEXT, **headers}, f"{text}\n".encode()


def _numbers(query: str) -> dict[str, float]:
    """Return the parameters of a query, each a finite number given once."""
    found: dict[str, float] = {}
    for name, values in parse_qs(query, keep_blank_values=True, max_num_fields=16).items():
        if name not in ("since", "after", "limit"):
            raise ValueError("Only since, after and limit may be given")
        try:
            number = float(values[0])
        except ValueError:
            number = float("nan")
        if len(values) > 1 or not isfinite(number):
            raise ValueError(f"{name} has to be one number")
        found[name] = number
    return found
