"""Secrets in files: passwords and tokens, never kept, shown or written."""

from __future__ import annotations

from pathlib import Path

from operators.errors import LumenError

MAX_SECRET = 16_384
"""Maximum size of the file (bytes)."""


class SecretError(LumenError):
    """A file without a usable secret: one line that names the file only."""


def secret(name: str) -> bytes:
    """Return the content of a file, without surrounding white space.

    Raises
    ------
    SecretError
        The file cannot be read, is empty, or too long.
    """
    path = Path(name)
    try:
        if not path.is_file():
            raise SecretError(f"the file {path} is not there")
        with path.open("rb") as file:
            content = file.read(MAX_SECRET + 1).strip()
    except OSError as error:
        raise SecretError(f"the file {path} cannot be read: {error.strerror}") from error
    if not content:
        raise SecretError(f"the file {path} is empty")
    if len(content) > MAX_SECRET:
        raise SecretError(f"the file {path} is longer than {MAX_SECRET} bytes")
    return content
