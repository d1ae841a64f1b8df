"""Upload the dashboards to a running Grafana: `python -m ops.monitoring.grafana.load`.

$GRAFANA_URL is the address, $GRAFANA_TOKEN the token of a service account with the role Editor. A
dashboard with the same uid is replaced.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from operators.errors import ToolError
from ops.monitoring.grafana.generate import shipped

TIMEOUT_S = 10.0
_MEANING = {
    401: "$GRAFANA_TOKEN is not valid there",
    403: "$GRAFANA_TOKEN may not write dashboards: it needs the role Editor",
    404: "no Grafana answers there: does $GRAFANA_URL lack a path?",
    412: "the dashboard is provisioned there, and cannot be replaced from outside",
}


class LoadError(ToolError):
    """A failed upload: one line with the reason."""


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: the token is for one Grafana."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


_opener = build_opener(_Stay)


def load(url: str, token: str, text: str) -> str:
    """Upload one dashboard.

    Parameters
    ----------
    url : str
        Address of the Grafana.
    token : str
    text : str
        The dashboard's JSON.

    Returns
    -------
    str
        Address of the dashboard.

    Raises
    ------
    LoadError
        There is no answer, or the upload is refused.
    """
    root = url.rstrip("/")
    dashboard = json.loads(text)
    body = {"dashboard": {**dashboard, "id": None}, "overwrite": True}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    where = f"{dashboard['title']} to {root}"
    try:
        request = Request(f"{root}/api/dashboards/db", json.dumps(body).encode(), headers)
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            body_read = answer.read()
    except HTTPError as error:
        why = _MEANING.get(error.code) or f"the answer is {error.code} {error.reason}"
        raise LoadError(f"{where}: {why}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise LoadError(f"{where}: {getattr(error, 'reason', error)}") from error
    try:
        path = json.loads(body_read)["url"]
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(f"{where}: the server there is no Grafana") from error
    return f"{root}{path}"


def main(environment: Mapping[str, str]) -> int:
    """Upload all dashboards; return 0 on success, 1 on a failure, 2 on a wrong call."""
    for name, example in (("GRAFANA_URL", "http://127.0.0.1:3000"), ("GRAFANA_TOKEN", "glsa_...")):
        if not environment.get(name):
            print(f"lumen: ${name} is not set: for instance {name}={example}", file=sys.stderr)
            return 2
    if not environment["GRAFANA_URL"].startswith(("http://", "https://")):
        print("lumen: $GRAFANA_URL has to begin with http:// or https://", file=sys.stderr)
        return 2
    try:
        for text in shipped().values():
            print(load(environment["GRAFANA_URL"], environment["GRAFANA_TOKEN"], text))
    except LoadError as error:
        print(f"lumen: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
