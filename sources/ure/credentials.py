"""Credentials of a scrape: the `Authorization` header, read from a file.

The file is read for each request, so that a secret may change during a run. Its content is never
kept, shown or written; errors name the file only.

Source: RFC 7617 (Basic), RFC 6750 (Bearer).
"""

from __future__ import annotations

import re
from base64 import b64encode

from configs import secrets
from sources.ure.exposition import PageError

_TOKEN = re.compile(rb"[!-~]+")


class Credentials:
    """Credentials for one endpoint.

    Parameters
    ----------
    path : str
        File with the password or token; surrounding white space is removed.
    username : str or None
        For a password (Basic); None for a token (Bearer).
    """

    def __init__(self, path: str, username: str | None = None) -> None:
        self._path = path
        self._username = username

    def header(self) -> bytes:
        """Return the header's line.

        Raises
        ------
        PageError
            The file cannot be read or is empty. Its reason is None: no page is lost.
        """
        try:
            secret = secrets.secret(self._path)
        except secrets.SecretError as error:
            raise PageError(str(error), None) from error
        if self._username is not None:
            pair = self._username.encode() + b":" + secret
            return b"Authorization: Basic " + b64encode(pair) + b"\r\n"
        if not _TOKEN.fullmatch(secret):
            raise PageError(f"the file {self._path} holds no token in one word", None)
        return b"Authorization: Bearer " + secret + b"\r\n"
