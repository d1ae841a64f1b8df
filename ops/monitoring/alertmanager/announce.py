"""Send a test alert to an Alertmanager: `python -m ops.monitoring.alertmanager.announce`.

It takes the route of a real alert of its severity, and resolves by itself after a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from operators.errors import ToolError

URL = "ALERTMANAGER_URL"
USUAL = "http://127.0.0.1:9093"
SEVERITIES = ("warning", "critical")
LASTS = timedelta(minutes=1)
_TIMEOUT_S = 10.0
_opener = build_opener(ProxyHandler({}))


class AnnounceError(ToolError):
    """The alert was not accepted: one line with the reason."""


def alert(severity: str, now: datetime) -> dict[str, object]:
    """Return the alert in the format of Alertmanager's API."""
    return {
        "labels": {"alertname": "AlertTest", "family": "test", "severity": severity},
        "annotations": {
            "summary": "A test: nothing is wrong.",
            "description": f"Sent by hand at {now:%H:%M:%S} UTC to see that alerts are delivered.",
        },
        "startsAt": now.isoformat(),
        "endsAt": (now + LASTS).isoformat(),
    }


def announce(url: str, severity: str) -> None:
    """Send the alert to an Alertmanager.

    Raises
    ------
    AnnounceError
        The alert was not accepted.
    """
    body = json.dumps([alert(severity, datetime.now(UTC))]).encode()
    try:
        request = Request(
            f"{url.rstrip('/')}/api/v2/alerts", body, {"Content-Type": "application/json"}
        )
        with _opener.open(request, timeout=_TIMEOUT_S):
            pass
    except HTTPError as error:
        with error:
            answer = " ".join(error.read(500).decode(errors="replace").split())
        raise AnnounceError(f"{url} answers {error.code}: {answer or error.reason}") from None
    except (OSError, ValueError, HTTPException) as error:
        why = getattr(error, "reason", error)
        raise AnnounceError(f"no Alertmanager answers at {url}: {why}") from None


def main() -> int:
    """Send the alert; return 1 if it was not accepted."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.monitoring.alertmanager.announce",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "--url", default=os.environ.get(URL) or USUAL, help=f"default ${URL}, else {USUAL}"
    )
    parser.add_argument("--severity", choices=SEVERITIES, default=SEVERITIES[0])
    args = parser.parse_args()
    try:
        announce(args.url, args.severity)
    except AnnounceError as error:
        print(f"lumen: {error}", file=sys.stderr)
        return 1
    print(f"AlertTest, {args.severity}, is with {args.url}; look where it is delivered to")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
