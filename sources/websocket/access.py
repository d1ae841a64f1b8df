"""Access to the WebSocket server: origins of web pages, and a token.

A browser sends the origin of a page with each connection; a page of another site could else send
events to a server on this machine. Programs send none. Source: RFC 6455, 4.2.2 and 10.2.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers, MultipleValuesError

from configs.token_file import TokenFileError, token_of


class ClientAccess:
    """Decides on connections.

    Parameters
    ----------
    origins : collection of str
        Origins of pages that may send.
    token_file : str, optional
        File with a token, read for each connection: it may change during a run.
    """

    def __init__(self, origins: Collection[str], token_file: str | None) -> None:
        self._origins = {origin.lower() for origin in origins}
        self._token_file = token_file

    def refusal(self, path: str, headers: Headers) -> tuple[HTTPStatus, str] | None:
        """Return the status and reason of a refused connection; None for an allowed one."""
        try:
            origin, given = headers.get("Origin"), headers.get("Authorization", "")
        except MultipleValuesError:
            return HTTPStatus.BAD_REQUEST, "a header is there twice"
        if origin is not None and origin.lower() not in self._origins:
            return HTTPStatus.FORBIDDEN, "the origin is not one of origins"
        if self._token_file is None:
            return None
        try:
            wanted = token_of(self._token_file)
        except TokenFileError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"the token file {error}"
        asked = parse_qs(urlsplit(path).query).get("token", [""])[0]
        token = given.removeprefix("Bearer ") if given.startswith("Bearer ") else asked
        if hmac.compare_digest(token.encode("utf-8", "replace"), wanted):
            return None
        return HTTPStatus.UNAUTHORIZED, "no valid token"
