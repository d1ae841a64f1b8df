"""Questions to a Prometheus: all at once, with one deadline, and a reason for each that failed.

An answer counts only if it is whole, of the expected type and of now. Whatever else comes is a
`QueryError`, so that no fault of a server looks like a number.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.client import HTTPException
from typing import Literal, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import msgspec

from operators.errors import ToolError

T = TypeVar("T")
DEADLINE_S = 5.0
"""Longest wait for all answers together."""
MAX_AGE_S = 300.0
"""Largest difference of an answer's time from this host's."""
MAX_BYTES = 16 << 20
DEFAULT = "http://127.0.0.1:9090"


class QueryError(ToolError):
    """A question without a usable answer; the text is its reason."""


class _NoRedirects(HTTPRedirectHandler):
    """Refuses redirects: another server answers for none."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener = build_opener(ProxyHandler({}), _NoRedirects())


class InstantSample(msgspec.Struct):
    """A series and its number: time (s) and text."""

    metric: dict[str, str]
    value: tuple[float, str]


class RangeSamples(msgspec.Struct):
    """A series and its samples: times (s) and texts."""

    metric: dict[str, str]
    values: list[tuple[float, str]]


class _Vector(msgspec.Struct, tag_field="resultType", tag="vector"):
    result: list[InstantSample]


class _Matrix(msgspec.Struct, tag_field="resultType", tag="matrix"):
    result: list[RangeSamples]


class AlertState(msgspec.Struct):
    """One alert that is pending or firing."""

    state: Literal["pending", "firing"]


class RuleState(msgspec.Struct):
    """One rule as the server runs it."""

    name: str
    type: Literal["alerting", "recording"]
    health: str
    labels: dict[str, str] = {}
    alerts: list[AlertState] = []


class _RuleGroup(msgspec.Struct):
    rules: list[RuleState]


class _Rules(msgspec.Struct):
    groups: list[_RuleGroup]


class _Answer(msgspec.Struct):
    status: Literal["success"]
    data: msgspec.Raw
    warnings: list[str] = []


_answer = msgspec.json.Decoder(_Answer).decode


def address(given: str) -> str:
    """Return the address of a Prometheus.

    Raises
    ------
    QueryError
        The text is no address.
    """
    url = (given if "://" in given else f"http://{given}").rstrip("/")
    try:
        parts = urlsplit(url)
        sound = parts.port is None or parts.port > 0
    except ValueError:
        sound = False
    if not sound or parts.scheme not in ("http", "https") or not parts.hostname:
        raise QueryError(f"'{given}' is no address, expected such as {DEFAULT}")
    return url


def fetch(url: str, path: str, parameters: Mapping[str, str], kind: type[T]) -> T:
    """Return the data of an answer.

    Raises
    ------
    QueryError
        There is no usable answer.
    """
    request = Request(f"{url}/api/v1/{path}?{urlencode(parameters)}")
    try:
        with _opener.open(request, timeout=DEADLINE_S) as got:
            body = got.read(MAX_BYTES + 1)
            if got.status != 200:
                raise QueryError(f"HTTP {got.status}")
    except HTTPError as error:
        error.close()
        raise QueryError(f"HTTP {error.code}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise QueryError(getattr(why, "strerror", None) or str(why) or "no answer") from None
    except HTTPException as error:
        raise QueryError(f"no whole answer ({type(error).__name__})") from None
    if len(body) > MAX_BYTES:
        raise QueryError("an answer of more than 16 MiB")
    try:
        answer = _answer(body)
        if answer.warnings:
            raise QueryError(f"an answer with a warning: {answer.warnings[0][:80]}")
        return msgspec.json.decode(answer.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise QueryError(f"no answer of a Prometheus: {error}") from None


def number(url: str, expr: str, now: Callable[[], float] = time.time) -> float | None:
    """Return the one number of an expression; None where it has none.

    Raises
    ------
    QueryError
        There is no usable answer, several numbers, or one that is not finite.
    """
    samples = vector(url, expr, now)
    if len(samples) > 1:
        raise QueryError(f"{len(samples)} numbers in place of one")
    return _float(*samples[0].value, now) if samples else None


def vector(url: str, expr: str, now: Callable[[], float] = time.time) -> list[InstantSample]:
    """Return the series of an expression.

    Raises
    ------
    QueryError
        There is no usable answer.
    """
    samples = fetch(url, "query", {"query": expr}, _Vector).result
    for sample in samples:
        _float(*sample.value, now)
    return samples


def last_two(url: str, expr: str, now: Callable[[], float] = time.time) -> list[list[float]]:
    """Return the last two samples of each series of a range, fewer where there are fewer.

    Raises
    ------
    QueryError
        There is no usable answer.
    """
    found = fetch(url, "query", {"query": expr}, _Matrix).result
    return [[_float(ts, text, now) for ts, text in series.values[-2:]] for series in found]


def alerts(url: str) -> list[RuleState]:
    """Return the alerting rules of a server.

    Raises
    ------
    QueryError
        There is no usable answer.
    """
    groups = fetch(url, "rules", {"type": "alert"}, _Rules).groups
    return [rule for group in groups for rule in group.rules if rule.type == "alerting"]


def _float(ts: float, text: str, now: Callable[[], float]) -> float:
    try:
        value = float(text)
    except ValueError:
        raise QueryError(f"'{text[:40]}' is no number") from None
    if not math.isfinite(value):
        raise QueryError(f"the number is {text}")
    if not abs(now() - ts) <= MAX_AGE_S:
        raise QueryError("an answer of another time")
    return value


def together(
    questions: Iterable[Callable[[], T]], deadline_s: float = DEADLINE_S
) -> list[T | QueryError]:
    """Ask all questions at once; return each answer, or the reason why there is none.

    A question that is not answered by the deadline is abandoned.
    """
    asked = list(questions)
    late = QueryError(f"no answer within {deadline_s:g} s")
    found: list[T | QueryError] = [late] * len(asked)
    closed = threading.Event()

    def ask(i: int) -> None:
        answer: T | QueryError
        try:
            answer = asked[i]()
        except QueryError as error:
            answer = error
        if not closed.is_set():
            found[i] = answer

    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(len(asked))]
    end = time.monotonic() + deadline_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))
    closed.set()
    return list(found)
