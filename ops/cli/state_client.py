"""HTTP client of a running flow: the fields of `/state` that the terminal view needs."""

from __future__ import annotations

import os
from http import HTTPStatus
from http.client import HTTPException
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

from configs.outputs import ExporterConfig
from configs.token_file import TokenFileError, token_of
from operators.errors import ToolError
from operators.lines import EvidenceRecord, SyncReport
from operators.types import Mode
from sinks.advice.changes import Kind
from sinks.exporter.sync_status import Level, StreamState

URL = "LUMEN_URL"
"""The environment variable with the address of a flow."""
TOKEN_FILE = "LUMEN_TOKEN_FILE"
"""The environment variable with the path of the flow's `exporter.token_file`."""
_USUAL = ExporterConfig()
USUAL = f"http://{_USUAL.host}:{_USUAL.http_port}"
_MAX_BYTES = 16 << 20
_REFUSED: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: f"set {TOKEN_FILE} to the file of its exporter.token_file",
    HTTPStatus.FORBIDDEN: "add this address to exporter.allow there",
    HTTPStatus.TOO_MANY_REQUESTS: "exporter.max_qps is lower than the rate of requests",
}


class NoAnswerError(ToolError):
    """No answer, or an unreadable one; the text is one line with the reason."""


class SignalView(msgspec.Struct):
    """A signal at the newest tick."""

    value: float | None
    sd: float | None
    unit: str | None
    mode: Mode
    live: int


class Indicator(msgspec.Struct):
    """An indicator at the newest tick; `least`: its threshold is a lower limit.

    `why` is the reason for an absent value.
    """

    value: float | None
    why: str | None
    budget: float | None
    least: bool | None
    level: Literal["good", "warn", "crit"] | None


class StreamView(msgspec.Struct):
    """An expected stream, and its counts."""

    stream: str
    state: StreamState
    age_s: float
    received: int
    used: int
    late: int
    duplicate: int
    outliers: int
    rejected: int
    dropped: int
    refused: str | None = None

    @property
    def lost(self) -> int:
        """Events that were not used."""
        return self.late + self.duplicate + self.outliers + self.rejected + self.dropped


class ChannelView(SyncReport, frozen=True, kw_only=True):
    """A channel's newest report, and its part of the fused value."""

    weight: float | None
    unit: str | None

    @property
    def lost(self) -> int:
        """Events that were not used."""
        return self.late + self.duplicate + self.outliers + self.rejected


class StatusView(msgspec.Struct):
    """Verdict on a rig."""

    level: Level
    head: str
    text: str


class ChangeView(msgspec.Struct):
    """A change at `ts`."""

    ts: float
    what: Literal["mode", "channel", "stream", "clock"]
    name: str
    now: str
    step_s: float | None


class ChangeEntryView(msgspec.Struct):
    """The newest change of a subject; `before` is its state before the changes since `since`."""

    ts: float
    kind: Kind
    name: str
    text: str
    since: float
    before: str


class BridgeView(msgspec.Struct):
    """The bridge after its newest control step `at`; `unmet` are sentences."""

    name: str
    at: float | None
    state: str
    since: float | None
    lock: str
    tick_s: float | None
    phase_error: float | None
    phase_diff: float | None
    sync_quality: float | None
    entropy_ratio: float | None
    safety_gain: float | None
    hard_stop: bool
    unmet: list[str]


class RigView(msgspec.Struct):
    """One rig at its newest tick."""

    verdict: StatusView
    stalled: bool
    ts: float | None
    tick_age_s: float | None
    mode: Mode | None
    live: int | None
    sync_bound_s: float | None
    sync_estimate_bound_s: float | None
    signals: dict[str, SignalView]
    indicators: dict[str, Indicator]
    streams: list[StreamView]
    channels: list[ChannelView]
    changes: list[ChangeView]
    happened: list[ChangeEntryView]
    left_out: str | None = None
    bridge: BridgeView | None = None


class LineView(msgspec.Struct):
    """A signal's values, one at each `ts` of the history."""

    value: list[float | None]
    sd: list[float | None]


class HistoryView(msgspec.Struct):
    """New points of one rig."""

    rig: str
    window_s: float
    ts: list[float]
    signals: dict[str, LineView]


class EnergyView(msgspec.Struct):
    """Power of the process (W), its cost for an hour, its source, and the hottest sensor."""

    watts: float | None
    cost_per_h: float | None
    currency: str | None
    source: Literal["rapl", "stated"] | None
    celsius: float | None


class State(msgspec.Struct):
    """The whole state; `started` identifies the run, `version` the moment in it."""

    now: float
    started: float
    version: int
    names: list[str]
    rigs: dict[str, RigView]
    evidence: list[EvidenceRecord]
    history: HistoryView | None
    energy: EnergyView | None = None


_decode = msgspec.json.Decoder(State).decode
# Proxies of the environment do not apply to a local flow.
_opener = build_opener(ProxyHandler({}))


def address(given: str | None) -> str:
    """Return the address of a flow: the given one, that of the environment, or the default.

    Raises
    ------
    NoAnswerError
        The text is no address.
    """
    url = given or os.environ.get(URL) or USUAL
    url = (url if "://" in url else f"http://{url}").rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = -1
    if port == -1 or parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoAnswerError(f"'{given or os.environ[URL]}' is no address, expected such as {USUAL}")
    return url


def credentials() -> dict[str, str]:
    """Return the headers of a request with the token of the environment, if there is one.

    Raises
    ------
    NoAnswerError
        The token file cannot be used.
    """
    path = os.environ.get(TOKEN_FILE)
    if not path:
        return {}
    try:
        return {"Authorization": f"Bearer {token_of(path).decode('ascii')}"}
    except TokenFileError as error:
        raise NoAnswerError(f"{TOKEN_FILE}: {path} {error}") from error


def ask(url: str, timeout_s: float = 3.0, **query: str | int) -> State:
    """Return the state of a flow.

    Parameters
    ----------
    url : str
    timeout_s : float
    query
        `rig`, `since`: see the OpenAPI document.

    Raises
    ------
    NoAnswerError
        There is no answer, or it is not that of a flow.
    """
    request = Request(f"{url}/state?{urlencode(query)}", headers=credentials())
    try:
        with _opener.open(request, timeout=timeout_s) as answer:
            body = answer.read(_MAX_BYTES)
        return _decode(body)
    except HTTPError as error:
        error.close()
        if error.code == HTTPStatus.MISDIRECTED_REQUEST:
            remedy = "add it to exporter.allow_hosts there, or use the address"
            raise NoAnswerError(f"{url} is not served under this host name: {remedy}") from error
        if error.code in _REFUSED:
            why = f"refuses this client ({error.code}): {_REFUSED[error.code]}"
            raise NoAnswerError(f"{url} {why}") from error
        raise NoAnswerError(f"{url} is no flow: /state returned {error.code}") from error
    except msgspec.DecodeError as error:
        raise NoAnswerError(f"{url} does not answer like a flow: {error}") from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise NoAnswerError(f"no answer from {url}: {reason}") from error
    except HTTPException as error:
        raise NoAnswerError(f"{url} does not answer like a flow: no HTTP") from error
