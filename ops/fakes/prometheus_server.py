"""A Prometheus that answers what a test or bench wants, with every fault of a server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ops.gate.gates import BURN_ALERTS, GATES

HANG_S = 30.0
"""Longest time for which a late answer is held back (s)."""
Fault = Callable[[bytes], bytes | None]
"""Changes the bytes of a whole HTTP answer; None: the connection is held, without an answer."""


def sound() -> dict[str, Any]:
    """Return answers by expression with which every gate is GO: numbers, or lists of them."""
    found: dict[str, Any] = {}
    for gate in GATES:
        for condition in gate.conditions:
            number = condition.bound * (0.5 if condition.sign == "<=" else 1.0)
            found[condition.expr] = [number] * 2 if gate.kind == "last_two" else number
        found |= dict.fromkeys(gate.covered, 1.0)
        if gate.note:
            found[gate.note.partition(" = ")[2]] = 1.0
    return found


def burn_rules(
    firing: tuple[str, ...] = (), *, missing: int = 0, health: str = "ok"
) -> list[dict[str, Any]]:
    """Return the alerts on error budgets as the server states them; `firing` are families."""
    return [
        {
            "name": f"{family}_{severity}",
            "type": "alerting",
            "health": health,
            "labels": {"family": family, "severity": severity},
            "alerts": [{"state": "firing"}] if family in firing else [],
        }
        for family, severity in sorted(BURN_ALERTS)[missing:]
    ]


class _PrometheusStub(ThreadingHTTPServer):
    """A server for which many questions at once may wait."""

    request_queue_size = 128


class FakePrometheus:
    """The server; each attribute may be changed at any time.

    Attributes
    ----------
    answers : dict
        Number by expression: a number, a list of samples of one series, a list of lists for
        several series, or None for no series.
    rules : list
        The alerting rules.
    fault : callable or None
        Fault of answers to the questions that `faulty` selects; all by default.
    asked : list of str
        Questions so far.
    """

    def __init__(self) -> None:
        self.answers = sound()
        self.rules = burn_rules()
        self.firing: list[dict[str, str]] = []
        """Labels of the series ALERTS."""
        self.fault: Fault | None = None
        self.faulty: Callable[[str], bool] = lambda question: True
        self.asked: list[str] = []
        self.skew_s = 0.0
        self._ended = threading.Event()
        fake = self

        class _AnswerHandler(BaseHTTPRequestHandler):
            """Answers one question."""

            def do_GET(self) -> None:
                """Answer, or break as the fault asks."""
                parts = urlsplit(self.path)
                query = parse_qs(parts.query).get("query", ["rules"])[0]
                fake.asked.append(query)
                body = json.dumps({"status": "success", "data": fake.data(query)}).encode()
                head = (
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                answer: bytes | None = head.encode() + body
                if fake.fault is not None and fake.faulty(query):
                    answer = fake.fault(answer or b"")
                if answer is None:
                    fake._ended.wait(HANG_S)
                    return
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        self._server = _PrometheusStub(("127.0.0.1", 0), _AnswerHandler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def data(self, query: str) -> dict[str, Any]:
        """Return the data of an answer."""
        if query == "rules":
            return {"groups": [{"name": "slo_alerts", "rules": self.rules}]}
        now = time.time() + self.skew_s
        if query.startswith("ALERTS"):
            series = [{"metric": labels, "value": [now, "1"]} for labels in self.firing]
            return {"resultType": "vector", "result": series}
        value = self.answers.get(query)
        if isinstance(value, list):
            many = value if value and isinstance(value[0], list) else [value]
            values = [[[now, str(x)] for x in each] for each in many]
            rows: list[Any] = [{"metric": {}, "values": each} for each in values if each]
            return {"resultType": "matrix", "result": rows}
        if value is None:
            kind = "matrix" if query.endswith("s]") else "vector"
            return {"resultType": kind, "result": []}
        return {"resultType": "vector", "result": [{"metric": {}, "value": [now, str(value)]}]}

    def reset(self) -> None:
        """Answer as at the start."""
        self.answers, self.rules, self.firing = sound(), burn_rules(), []
        self.fault, self.faulty, self.skew_s = None, lambda question: True, 0.0

    def __enter__(self) -> FakePrometheus:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


def _status(code: int) -> Fault:
    head = f"HTTP/1.1 {code} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    return lambda answer: head.encode() + b"{}"


def _body(change: Callable[[bytes], bytes]) -> Fault:
    """Return a fault of the body, with the length that it then has."""

    def fault(answer: bytes) -> bytes:
        body = change(answer.partition(b"\r\n\r\n")[2])
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        return head + body

    return fault


def _value(text: str) -> Fault:
    """Return a fault that puts a text in place of each number's text."""

    def change(body: bytes) -> bytes:
        answer = json.loads(body)
        for row in answer["data"].get("result", []):
            for pair in [row["value"]] if "value" in row else row["values"]:
                pair[1] = json.loads(text)
        for group in answer["data"].get("groups", []):
            group["rules"] = json.loads(text)
        return json.dumps(answer).encode()

    return _body(change)


def _data(key: str, value: Any) -> Fault:
    def change(body: bytes) -> bytes:
        answer = json.loads(body)
        answer["data"]["groups" if "groups" in answer["data"] else key] = value
        return json.dumps(answer).encode()

    return _body(change)


def _answer(**fields: Any) -> Fault:
    return _body(lambda body: json.dumps(json.loads(body) | fields).encode())


def _cut(part: float) -> Fault:
    return lambda answer: answer[: int(len(answer) * part)]


def _redirect(answer: bytes) -> bytes:
    return b"HTTP/1.1 302 X\r\nLocation: /graph\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def _hang(answer: bytes) -> None:
    return None


FAULTS: dict[str, Fault] = {
    "no answer": _hang,
    "closed": lambda answer: b"",
    "head only": lambda answer: answer.partition(b"\r\n\r\n")[0],
    "redirected": _redirect,
    **{
        f"HTTP {code}": _status(code)
        for code in (204, 400, 401, 403, 404, 422, 429, 500, 502, 503)
    },
    **{f"cut at {part:.0%}": _cut(part) for part in (0.1, 0.5, 0.9, 0.99)},
    "empty": _body(lambda body: b""),
    "null": _body(lambda body: b"null"),
    "a list": _body(lambda body: b"[]"),
    "HTML": _body(lambda body: b"<html>Prometheus</html>"),
    "no UTF-8": _body(lambda body: b"\xff\xfe" + body),
    "a half body": _body(lambda body: body[: len(body) // 2]),
    "deep": _body(lambda body: b"[" * 200_000),
    "status error": _answer(status="error", error="boom"),
    "no status": _body(lambda body: body.replace(b'"status"', b'"stat"')),
    "no data": _body(lambda body: body.replace(b'"data"', b'"date"')),
    "a warning": _answer(warnings=["partial response: store is away"]),
    "data is null": _answer(data=None),
    "data is text": _answer(data="1"),
    "a scalar": _data("resultType", "scalar"),
    "a string": _data("resultType", "string"),
    "no type": _data("resultType", None),
    "result is null": _answer(data={"resultType": "vector", "result": None, "groups": None}),
    "no series": _answer(data={"resultType": "vector", "result": [], "groups": []}),
    "two series": _answer(
        data={
            "resultType": "vector",
            "result": [{"metric": {}, "value": [0, "0"]}] * 2,
            "groups": [{"rules": []}],
        }
    ),
    **{
        f"value {text}": _value(text)
        for text in ('"NaN"', '"+Inf"', '"-Inf"', '""', '"x"', "1", "null", "[]", "true")
    },
}  # fmt: skip
"""Faults of a server: down is a port without one."""
