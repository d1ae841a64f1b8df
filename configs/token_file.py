"""The file of a bearer token: one line, readable by its owner alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from configs.files import open_file
from operators.errors import InUseError

MAX_TOKEN = 512
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]{16,%d}={0,4}" % MAX_TOKEN)
FORM = f"one line of 16 to {MAX_TOKEN} letters, digits and . _ ~ + / -"
"""Form of a token: that of RFC 6750."""


class TokenFileError(InUseError):
    """A token file that cannot be used; the text is its fault without the path."""


def token_of(path: str) -> bytes:
    """Return the token in a file; a final line end is no part of it.

    Raises
    ------
    TokenFileError
        The file cannot be read, is a link, may be read by others, or holds no token.
    """
    try:
        with open_file(Path(path), os.O_RDONLY) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_TOKEN + 8)
    except OSError as error:
        raise TokenFileError(f"cannot be read ({error.strerror}), expected a file") from error
    if os.name == "posix" and mode & 0o077:
        raise TokenFileError("may be read by others, expected a file of its owner alone (0600)")
    token = data.removesuffix(b"\n").removesuffix(b"\r")
    if not _TOKEN.fullmatch(token):
        raise TokenFileError(f"holds no token, expected {FORM}")
    return token
