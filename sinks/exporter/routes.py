"""HTTP routes: pure functions from (method, path, query) to a response, without sockets.

| path | |
|---|---|
| `exporter.path` | the metrics |
| `bridge.exporter.path` | those of the bridge, if there is one |
| `/healthz` | the process lives |
| `/readyz` | data are fresh, else 503; then the rigs without a comparison |
| `/evidence/bundle` | findings since the start, a page at a time |
| `/state` | the state for the live page; with `since`, also the history of one `rig` |
| `/` | the live page |
| `/page/...` | its style and modules |

Other paths are 404, methods other than GET 405, unknown Host headers 421. The port of the bridge
has its metrics, `/healthz` and `/readyz` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlencode

from sinks.exporter.live_state import LiveState
from sinks.exporter.metrics import CONTENT_TYPE, MetricsPage
from sinks.exporter.state_json import state

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
MAX_FINDINGS, DEFAULT_FINDINGS = 1_000, 100
"""Findings a page."""
BUNDLE = "/evidence/bundle"
_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"
_LIVE = Path(__file__).with_name("page")
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'self'; script-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class MetricsRoutes:
    """Pages of metrics, and whether the run lives and its data are fresh.

    Parameters
    ----------
    board : LiveState
    metrics : mapping
        Callables that return a page of metrics, by path.
    """

    def __init__(self, board: LiveState, metrics: Mapping[str, Callable[[], bytes]]) -> None:
        self._board = board
        self.routes: dict[str, Callable[[str], Answer]] = {
            **{path: _metrics(text) for path, text in metrics.items()},
            "/healthz": self._health,
            "/readyz": self._ready,
        }

    def answer(self, method: str, path: str, query: str) -> Answer:
        """Return the response; never raises."""
        found = self.routes.get(path)
        if found is None:
            status, headers, body = _text_answer(404, "There is no such page.")
        elif method != "GET":
            status, headers, body = _text_answer(405, "Only GET is answered.", Allow="GET")
        else:
            status, headers, body = found(query)
        return status, _HEADERS | headers, body

    def _health(self, query: str) -> Answer:
        return _text_answer(200, "ok")

    def _ready(self, query: str) -> Answer:
        why = self._board.stale()
        if why:
            return _text_answer(503, f"not ready: {why}")
        return _text_answer(200, "\n".join(("ready", *self._board.uncompared())))


class Routes(MetricsRoutes):
    """All pages of a run.

    Parameters
    ----------
    path : str
        Of the metrics.
    board : LiveState
    more : mapping, optional
        Further pages of metrics.
    """

    def __init__(
        self, path: str, board: LiveState, more: Mapping[str, Callable[[], bytes]] | None = None
    ) -> None:
        super().__init__(board, {path: MetricsPage(board).text, **(more or {})})
        self.routes |= {
            BUNDLE: self._bundle,
            "/state": self._state,
            "/": _file(
                "index.html", "text/html; charset=utf-8", {"Content-Security-Policy": _POLICY}
            ),
        }
        for file in sorted(_LIVE.iterdir()):
            if file.suffix in _TYPES:
                self.routes[f"/page/{file.name}"] = _file(file.name, _TYPES[file.suffix], {})

    def _bundle(self, query: str) -> Answer:
        try:
            asked = _numbers(_asked(query, "since", "after", "limit"))
            since, after = asked.get("since", -1e15), asked.get("after", -1.0)
            limit = asked.get("limit", float(DEFAULT_FINDINGS))
            if not (1 <= limit <= MAX_FINDINGS and limit.is_integer()):
                raise ValueError(f"limit has to be a whole number from 1 to {MAX_FINDINGS}")
            if not (-1 <= after <= 1e15 and after.is_integer()):
                raise ValueError("after has to be a whole number, from a Link")
        except ValueError as error:
            return _text_answer(400, f"{error}.")
        found, more = self._board.found(since, int(after), int(limit))
        headers = {"Content-Type": "application/jsonl"}
        if more:
            again = {"since": repr(asked["since"])} if "since" in asked else {}
            on = urlencode({**again, "after": found[-1].number, "limit": int(limit)})
            headers["Link"] = f'<{BUNDLE}?{on}>; rel="next"'
        return 200, headers, b"".join(finding.line for finding in found)

    def _state(self, query: str) -> Answer:
        try:
            asked = _asked(query, "rig", "since")
            rig = asked.pop("rig", None)
            since = _numbers(asked).get("since")
            if since is not None and not (0 <= since <= 1e15 and since.is_integer()):
                raise ValueError("since has to be a whole number, a former `version`")
        except ValueError as error:
            return _text_answer(400, f"{error}.")
        if rig is not None and rig not in self._board.panels:
            return _text_answer(404, "There is no such rig; `names` lists the rigs.")
        body = state(self._board, rig, None if since is None else int(since))
        return 200, {"Content-Type": _JSON}, body


def misdirected() -> Answer:
    """Return the response to a request with an unknown Host header."""
    status, headers, body = _text_answer(
        421, "This host name is not served: name it in exporter.allow_hosts, or use the address."
    )
    return status, _HEADERS | headers, body


def _metrics(text: Callable[[], bytes]) -> Callable[[str], Answer]:
    """Return a handler for a page of metrics."""
    return lambda query: (200, {"Content-Type": CONTENT_TYPE}, text())


def _file(name: str, kind: str, headers: dict[str, str]) -> Callable[[str], Answer]:
    """Return a handler for a file of the live page, as read at the start."""
    answer = 200, {"Content-Type": kind, **headers}, (_LIVE / name).read_bytes()
    return lambda query: answer


def _text_answer(status: int, text: str, **headers: str) -> Answer:
    return status, {"Content-Type": _TEXT, **headers}, f"{text}\n".encode()


def _asked(query: str, *names: str) -> dict[str, str]:
    """Return the parameters of a query, each given once."""
    found: dict[str, str] = {}
    for name, values in parse_qs(query, keep_blank_values=True, max_num_fields=16).items():
        if name not in names:
            raise ValueError(f"Only {', '.join(names[:-1])} and {names[-1]} may be given")
        if len(values) > 1:
            raise ValueError(f"{name} may be given once")
        found[name] = values[0]
    return found


def _numbers(asked: dict[str, str]) -> dict[str, float]:
    """Return parameters as finite numbers."""
    found: dict[str, float] = {}
    for name, text in asked.items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = float("nan")
        if not isfinite(found[name]):
            raise ValueError(f"{name} has to be one number")
    return found
