"""Addresses of PostgreSQL: their form, and their text without a password."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from configs.document import public_url

EXPECTED = (
    "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, other characters of a password as %XX"
    " (such as %40 for @)"
)
POSTGRES = (
    r"postgres(ql)?://(([^@/?#\s%]|%[0-9a-fA-F]{2})*@)?"
    r"([^@:/?#\s\[\],]*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[^@/?#\s]*)?(\?[^@#\s]*)?"
)
"""Pattern of an address.

A character of the password that is not escaped would make a part of it the name of a host or
database, which messages show: such an address does not match.
"""


def is_postgres(dsn: str) -> bool:
    """Whether a DSN names a PostgreSQL server in the form that is accepted."""
    return bool(re.fullmatch(POSTGRES, dsn)) and "\0" not in unquote(dsn)


def public_dsn(dsn: str) -> str:
    """Return the address without user, password and options."""
    return public_url(dsn)


def secrets_of(dsn: str) -> set[str]:
    """Return the forms of the password that an address holds."""
    parts = urlsplit(dsn)
    fields = [f.partition("=")[2] for f in parts.query.split("&") if "password" in f]
    written = {*fields, parts.netloc.rpartition("@")[0].partition(":")[2]} - {""}
    return written | {unquote(text) for text in written}
