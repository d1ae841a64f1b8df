"""Bring the dashboards to a running Grafana: `python -m ops.monitoring.grafana.load`.

Where is said by $GRAFANA_URL, who we are by $GRAFANA_TOKEN, a service account's token with the
role Editor. What is there already under the same uid is replaced.
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
    401: "it does not know $GRAFANA_TOKEN",
    403: "$GRAFANA_TOKEN may not write dashboards: it needs the role Editor",
    404: "no Grafana answers there: does $GRAFANA_URL lack a path?",
    412: "the dashboard is provisioned there, and cannot be replaced from outside",
}


class LoadError(ToolError):
    """A dashboard could not be brought: one line that says why."""


class _Stay(HTTPRedirectHandler):
    """Follows nobody elsewhere: the token is for one Grafana."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


_opener = build_opener(_Stay)


def load(url: str, token: str, text: str) -> str:
    """Bring one dashboard.

    Parameters
    ----------
    url : str
        Of the Grafana.
    token : str
    text : str
        The dashboard's JSON.

    Returns
    -------
    str
        Where it can be looked at.

    Raises
    ------
    LoadError
        Nobody answers there, or the answer is no.
    """
    root = url.rstrip("/")
    dashboard = json.loads(text)
    body = {"dashboard": {**dashboard, "id": None}, "overwrite": True}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    where = f"{dashboard['title']} to {root}"
    try:
        request = Request(f"{root}/api/dashboards/db", json.dumps(body).encode(), headers)
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            said = answer.read()
    except HTTPError as error:
        why = _MEANING.get(error.code) or f"the answer is {error.code} {error.reason}"
        raise LoadError(f"{where}: {why}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise LoadError(f"{where}: {getattr(error, 'reason', error)}") from error
    try:
        path = json.loads(said)["url"]
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(f"{where}: what answers there is no Grafana") from error
    return f"{root}{path}"


def main(environment: Mapping[str, str]) -> int:
    """Bring all dashboards; return 0 if they are there, 1 if one is not, 2 if called wrongly."""
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
