"""Access to a Kafka cluster: its addresses, names of topics, and the file of security settings."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from configs.files import open_file
from configs.forms import END, Address, Text
from operators.errors import InUseError
from operators.settings.config_part import ConfigPart

MAX_FILE = 64 << 10
"""Largest file of security settings (bytes)."""
_KEY = re.compile(r"(security\.protocol|(ssl|sasl|https|enable\.ssl)\.[a-z0-9._]{1,80})")
_LINE = re.compile(r"([^=\s]+)\s*=\s*(.*)")

Brokers = Annotated[
    list[Address],
    Meta(
        min_length=1,
        max_length=64,
        description="Addresses of brokers; one that answers names the others.",
        examples=[["127.0.0.1:9092"]],
    ),
]
Topic = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}" + END,
        description="Name of the topic.",
        examples=["lumen.events"],
        extra={"expected": "a topic of at most 249 letters, digits and . _ -"},
    ),
]


class KafkaSecurity(ConfigPart, frozen=True, kw_only=True):
    """Encryption and credentials, in a file of their own."""

    file: Annotated[
        Text,
        Meta(
            description="File of lines `key=value` with the names of librdkafka (`ssl.`, `sasl.`,"
            " `security.protocol`); readable by its owner alone.",
            examples=["kafka.properties"],
        ),
    ]


class TapTopic(ConfigPart, frozen=True, kw_only=True):
    """The tape as a topic, for `lumen record --to kafka`; needs the extra `kafka`."""

    brokers: Brokers
    topic: Topic = "lumen.events"
    security: Annotated[
        KafkaSecurity | None, Meta(description="Encryption and credentials; none by default.")
    ] = None


class SecurityFileError(InUseError):
    """A security file that cannot be used: one line that shows no value of it."""


def properties_of(path: str) -> dict[str, str]:
    """Return the settings in a security file.

    Raises
    ------
    SecurityFileError
        The file cannot be read, is a link, may be read by others, or has a line of another form.
    """
    try:
        with open_file(Path(path), os.O_RDONLY) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise SecurityFileError(f"{path}: cannot be read: {error.strerror}") from error
    if os.name == "posix" and mode & 0o077:
        raise SecurityFileError(f"{path}: may be read by others, expected a file of mode 0600")
    if len(data) > MAX_FILE:
        raise SecurityFileError(f"{path}: longer than {MAX_FILE} bytes")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise SecurityFileError(f"{path}: no UTF-8 text") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith(("#", "!")):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise SecurityFileError(f"{path}:{number}: no key, expected key=value")
        if not _KEY.fullmatch(match[1]):
            expected = "security.protocol, ssl.* or sasl.*"
            raise SecurityFileError(
                f"{path}:{number}: the key '{match[1][:64]}', expected {expected}"
            )
        if match[1] in found:
            raise SecurityFileError(f"{path}:{number}: the key '{match[1]}' a second time")
        found[match[1]] = match[2]
    return found
