"""Topics and payloads of an MQTT destination: those of one rig.

A name from data is one level of a topic: `/`, `+`, `#`, `%` and characters that a broker may refuse
are escaped as `%` and the hexadecimal bytes of UTF-8, so that two names have two topics.

Payloads are lines of the result files (`fused.jsonl`, `evidence.jsonl`) without the line feed.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import numpy as np

from configs.connectors.mqtt import EVIDENCE, STATE, STATUS
from configs.inert import inert, inert_json
from operators.lines import EvidenceRecord
from operators.records import Fused, FusedSignal
from sinks.files.encode import fused_lines, record_lines

ONLINE, OFFLINE = b"online", b"offline"
_Ticks = TypeVar("_Ticks", Fused, FusedSignal)
_SPECIAL = re.compile(r"[%+#/]")


def status_topic(prefix: str) -> str:
    """Return the topic of the destination's own state."""
    return f"{prefix}/{STATUS}"


def state_topic(prefix: str, rig: str) -> str:
    """Return the topic of a rig's newest tick."""
    return f"{prefix}/{level(rig)}/{STATE}"


def evidence_topic(prefix: str, rig: str) -> str:
    """Return the topic of a rig's findings."""
    return f"{prefix}/{level(rig)}/{EVIDENCE}"


def value_topic(prefix: str, rig: str, name: str) -> str:
    """Return the topic of an expression."""
    return f"{prefix}/{level(rig)}/{name}"


@lru_cache(maxsize=1024)
def level(name: str) -> str:
    """Return a name as one level of a topic."""
    return "".join(map(_escaped, name)) or "%"


def _escaped(letter: str) -> str:
    if not _SPECIAL.match(letter) and inert(letter) == letter:
        return letter
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def state_payload(fused: Fused, rig: str) -> bytes:
    """Return the newest tick as a line of `fused.jsonl`."""
    return fused_lines(newest(fused), rig).rstrip(b"\n")


def evidence_payload(record: EvidenceRecord) -> bytes:
    """Return a finding as a line of `evidence.jsonl`."""
    return inert_json(record_lines([record])).rstrip(b"\n")


def value_payload(value: float) -> bytes:
    """Return a finite number as JSON."""
    return msgspec.json.encode(value)


def newest(fused: Fused) -> Fused:
    """Return the last tick alone."""
    signals = tuple(_last(signal) for signal in fused.signals)
    return replace(_last(fused), signals=signals)


def _last(part: _Ticks) -> _Ticks:
    """Return the last row of each column; a column that is not provided has none."""
    columns = {field.name: getattr(part, field.name) for field in fields(part)}
    last: dict[str, Any] = {
        name: column[-1:]
        for name, column in columns.items()
        if isinstance(column, np.ndarray) and len(column)
    }
    return replace(part, **last)
