"""Requests and responses of the exporter, without sockets."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qs

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of every response."""
TEXT, JSON, LINES = "text/plain; charset=utf-8", "application/json", "application/jsonl"


class Request(NamedTuple):
    """The parts of a request that a route reads."""

    query: str = ""
    accept: str = ""


def text_answer(status: int, text: str, **headers: str) -> Answer:
    """Return a line of text; underscores in names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": TEXT, **named}, f"{text}\n".encode()


def asked(query: str, *names: str) -> dict[str, str]:
    """Return the parameters of a query.

    Raises
    ------
    ValueError
        A parameter is not among the names, or is given twice.
    """
    found: dict[str, str] = {}
    for name, values in parse_qs(query, keep_blank_values=True, max_num_fields=16).items():
        if name not in names:
            allowed = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
            raise ValueError(f"Only {allowed} may be given" if names else "No parameter is known")
        if len(values) > 1:
            raise ValueError(f"{name} may be given once")
        found[name] = values[0]
    return found


def numbers(asked: dict[str, str]) -> dict[str, float]:
    """Return parameters as finite numbers.

    Raises
    ------
    ValueError
        A parameter is none.
    """
    found: dict[str, float] = {}
    for name, text in asked.items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = float("nan")
        if not isfinite(found[name]):
            raise ValueError(f"{name} has to be one number")
    return found


def wants_json(accept: str) -> bool:
    """Whether an Accept header prefers one JSON document to JSON lines."""
    best = {JSON: 0.0, LINES: 0.0}
    for part in accept.split(",")[:32]:
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        name = LINES if kind in ("application/x-ndjson", LINES) else kind
        if name in best:
            best[name] = max(best[name], _quality(parameters))
    return best[JSON] > best[LINES]


def _quality(parameters: list[str]) -> float:
    for name, _, value in (text.partition("=") for text in parameters):
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
