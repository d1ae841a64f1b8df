"""Configurations of the first versions: recognised, answered key by key, rewritten.

The bridge file (1.9), the fusion file (2.0a), the sensors file (`streams` alone), the autotune file
and the storage file are recognised. Values are carried over unchanged. A key without a successor is
listed with its reason, and a decision for the user becomes a comment in the new file.
"""

from __future__ import annotations

import re
from typing import Any

from configs.coherence import RESERVED
from configs.document import ConfigError, DataPath, Document, Fault, one_line, parse
from configs.typed import show

_VERSIONS = re.compile(r"1\.[0-9.]+|2\.0 ?(a|alpha|α).*")
_STORAGE = ("backend", "sqlite_path", "postgres_dsn")
_TUNING = ("nonlinear_gain", "burn_rate_thresholds")
_BRIDGE = "the bridge loop is not built yet"
_TICK = "resample.target_hz, which is 1000 / tick_ms"

_NEW_NAMES = {
    "version": "version: 2",
    "ure.metrics_url": "metrics_url of a stream of type ure",
    "ure.pull_interval_s": "pull_interval_s of a stream of type ure",
    "align.method": "align.method: xcorr_kalman",
    "align.kalman.q": "align.kalman.q, of the lag now (s^2/s)",
    "align.kalman.r": "align.kalman.r, of the lag now (s^2)",
    "resample.method": "resample.method, as it is",
    "resample.target_hz": "resample.target_hz, as it is",
    "exporter.http_port": "exporter.http_port, as it is",
    "exporter.path": "exporter.path, as it is",
    "weights.ure": "weights.ure, as it is",
    "weights.sensors": "weights.sensors, as it is",
    "failover.min_streams": "failover.min_streams, as it is",
    "failover.fallback": "failover.fallback, as it is",
}
_SAME = ("exporter", "weights", "failover")
_REASONS = {
    "fusion": _BRIDGE,
    "loop": _BRIDGE,
    "phase": _BRIDGE,
    "safety": _BRIDGE,
    "nonlinear_gain": _BRIDGE,
    "burn_rate_thresholds": "thresholds are rules now, in configs/rules",
    "storage": "a history in SQLite is always in WAL mode",
    "sqlite_path": "backend is postgres",
    "postgres_dsn": "backend is sqlite",
}
_FACTS = (
    "ure_phase_diff_mean",
    "ure_harmony_index",
    "ure_coherence_level",
    "ure_residual_entropy_last",
)
_DEMO = """\
  # The old file names no input. The shipped recording stands in: put your own here.
  - {name: demo, type: file, path: configs/recordings/demo.ndjson.gz}
"""
_DEMO_SIGNAL = """\
  # Of the shipped recording: put the channels that measure one quantity together here.
  pulse:
    members:
      "ure:pulse": {group: ure}
      "osc_1:/body/pulse": {group: sensors}
      "osc_2:/wrist/pulse": {group: sensors}
"""


class _Untouched(dict[str, str]):
    """An environment in which the value of `NAME` is `${NAME}`."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return f"${{{name}}}"


def is_old(document: Document) -> bool:
    """Whether the file is a configuration of the first versions."""
    data = document.data
    if not isinstance(data, dict) or not data:
        return False
    if "version" in data:
        return bool(_VERSIONS.fullmatch(document.written.get(("version",), "")))
    return set(data) == {"streams"} or any(not data.keys() - set(k) for k in (_TUNING, _STORAGE))


def answers(document: Document) -> list[Fault]:
    """Return a fault for each old key, with its new name or the reason for its removal."""
    first = (
        f"a configuration {_origin(document)}, expected version 2:"
        f" lumen check {document.path} --upgrade writes one"
    )
    faults = [Fault(document.path, *document.key_place(("version",)), first)]
    for at in _leaves(document.data):
        if at == ("version",):
            continue
        new, reason = _answer(document, at)
        message = f"expected {new}" if new else f"not carried over: {reason}"
        place = document.key_place(at)
        faults.append(Fault(document.path, *place, f"old key '{show(at)}', {message}"))
    return faults


def upgrade(text: str, path: str = "old.yaml") -> str:
    """Return a version 2 file with the content of the old one.

    Raises
    ------
    ConfigError
        Where the text is not YAML, or not an old configuration.
    """
    document = parse(text, path, _Untouched())
    if not document.faults and not is_old(document):
        message = "nothing to upgrade, expected a configuration of version 1.9 or 2.0a"
        document.fault(document.key_place(("version",)), message)
    if document.faults:
        raise ConfigError(document.faults)
    parts = [f"# Written anew, after a configuration {_origin(document)}.\nversion: 2\n"]
    parts += [_streams(document), _signals(document), _stations(document), _left(document)]
    return "\n".join(part for part in parts if part)


def _origin(document: Document) -> str:
    version = document.written.get(("version",))
    return f"of version {version}" if version else "from before version 2"


def _answer(document: Document, at: DataPath) -> tuple[str | None, str]:
    """Return the new name of an old key; without one, the reason."""
    name = ".".join(str(part) for part in at)
    if at[0] == "streams":
        return f"{show(at)}, as it is", ""
    if name in ("fusion.tick_ms", "loop.tick_ms"):
        if _target_hz(document):
            return _TICK, ""
        return None, "the grid is resample.target_hz, which is there"
    if at in _stored_at(document):
        return "store.dsn", ""
    if name in _NEW_NAMES:
        return _NEW_NAMES[name], ""
    return None, _REASONS.get(str(at[0]), "version 2 has nothing of the kind")


def _leaves(data: Any, at: DataPath = ()) -> list[DataPath]:
    """Return the paths of all keys that hold no further keys."""
    if isinstance(data, dict):
        return [leaf for key, item in data.items() for leaf in _leaves(item, (*at, key))]
    if isinstance(data, list) and any(isinstance(item, dict) for item in data):
        return [leaf for i, item in enumerate(data) for leaf in _leaves(item, (*at, i))]
    return [at]


def _streams(document: Document) -> str:
    lines = ["streams:\n"]
    for index, stream in enumerate(_list(document.data.get("streams"))):
        lines.append(f"  - {_flow(document, ('streams', index), stream)}\n")
    if "ure" in document.data:
        fields = {"name": "ure", "type": "ure"} | _known(document, "ure")
        lines.append(f"  - {_flow(document, ('ure',), fields)}\n")
    return "".join(lines) if len(lines) > 1 else lines[0] + _DEMO


def _signals(document: Document) -> str:
    """Return signals from the streams: one for each OSC key, one for the engine."""
    lines: list[str] = []
    facts: list[str] = []
    streams = [s for s in _list(document.data.get("streams")) if isinstance(s, dict)]
    if "ure" in document.data:
        streams.append({"name": "ure", "type": "ure"})
    taken: set[str] = set()
    for stream in streams:
        name, kind = stream.get("name"), stream.get("type")
        if kind == "osc" and _list(stream.get("keys")):
            lines.append("  # One signal a key: put channels that measure one quantity together.\n")
            channels = [f"{name}:{key}" for key in stream["keys"]]
        elif kind == "ure":
            lines.append("  # Name the number of the engine that is to be fused.\n")
            channels = [f"{name}:ure_pulse"]
            facts = [f"{name}:{fact}" for fact in _FACTS]
        elif kind == "midi":
            message = f'Add channels of {name} to a signal, such as "{name}:cc/1/1".'
            lines.append(f"  # {one_line(message)}\n")
            continue
        else:
            message = f"Name the channels that {name} holds, as <source>:<key>."
            lines.append(f"  # {one_line(message)}\n")
            channels = [] if len(streams) > 1 else [f"{name}:value"]
        group = "ure" if kind == "ure" else "sensors"
        for channel in channels:
            signal = _signal_name(channel, taken)
            member = _text(channel)
            lines.append(f"  {signal}: {{members: {{{member}: {{group: {group}}}}}}}\n")
    if not taken:
        lines.append(_DEMO_SIGNAL)
    read = f"facts: {_flow(document, (), facts)}\n" if facts else ""
    return "signals:\n" + "".join(lines) + read


def _stations(document: Document) -> str:
    data = document.data
    lines: list[str] = []
    kalman = _dict(_dict(data.get("align")).get("kalman"))
    if kalman:
        fields = _flow(document, ("align", "kalman"), kalman)
        lines.append("# Of the lag now, in s^2/s and s^2; {q: 1e-9, r: auto} suits most.\n")
        lines.append(f"align: {{kalman: {fields}}}\n")
    if "target_hz" in _dict(data.get("resample")):
        hz = _flow(document, ("resample", "target_hz"), data["resample"]["target_hz"])
        lines.append(f"resample: {{target_hz: {hz}}}\n")
    elif worked_out := _target_hz(document):
        lines.append(f"resample: {{target_hz: {worked_out}}}\n")
    lines += [
        f"{section}: {_flow(document, (section,), known)}\n"
        for section in _SAME
        if (known := _known(document, section))
    ]
    lines += _store(document)
    if not data.keys() - set(_TUNING):
        lines.append("evidence: {rules: [configs/rules/risk_map.yaml]}\n")
    return "".join(lines)


def _stored_at(document: Document) -> list[DataPath]:
    """Return the keys that make `store.dsn`: of the storage file, else of the bridge file."""
    data = document.data
    if data.get("backend") == "postgres" and data.get("postgres_dsn"):
        return [("backend",), ("postgres_dsn",)]
    if data.get("sqlite_path"):
        return [at for at in (("backend",), ("sqlite_path",)) if at[0] in data]
    return [("storage", "sqlite_path")] if _dict(data.get("storage")).get("sqlite_path") else []


def _store(document: Document) -> list[str]:
    """Return the history of an old database."""
    if not (places := _stored_at(document)):
        return []
    *_, name = places[-1]
    old = str(document.data[name] if len(places[-1]) == 1 else document.data["storage"][name])
    dsn = old if name == "postgres_dsn" else f"sqlite:{old}"
    return [
        "# A history has its own tables: those of the first versions at this place are refused.\n",
        f"store: {{dsn: {_text(dsn)}}}\n",
    ]


def _left(document: Document) -> str:
    lines = ["# Not carried over:\n"]
    for at in _leaves(document.data):
        new, reason = _answer(document, at)
        if new is None:
            line, _ = document.key_place(at)
            lines.append(f"#   {one_line(f'line {line}, {show(at)}: {reason}')}\n")
    return "".join(lines) if len(lines) > 1 else ""


def _known(document: Document, section: str) -> dict[str, Any]:
    fields = _dict(document.data.get(section))
    return {key: value for key, value in fields.items() if f"{section}.{key}" in _NEW_NAMES}


def _target_hz(document: Document) -> str | None:
    """Return the rate of an old tick, where no rate is given."""
    if "target_hz" in _dict(document.data.get("resample")):
        return None
    ticks = [_dict(document.data.get(section)).get("tick_ms") for section in ("fusion", "loop")]
    return next((f"{1000 / t:.6g}" for t in ticks if isinstance(t, int | float) and t > 0), None)


def _flow(document: Document, at: DataPath, value: Any) -> str:
    """Return a value in flow style, numbers as they were written."""
    if isinstance(value, dict):
        items = [
            f"{_text(key)}: {_flow(document, (*at, key), item)}" for key, item in value.items()
        ]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_flow(document, (*at, i), v) for i, v in enumerate(value))}]"
    return _text(value) if isinstance(value, str) else document.written[at]


def _text(value: str) -> str:
    if re.fullmatch(r"(?!(true|false|null)$)[A-Za-z][A-Za-z0-9_./-]*", value, re.I):
        return value
    return '"' + one_line(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _signal_name(channel: str, taken: set[str]) -> str:
    """Return a unique name for the signal of a channel, from the last part of its key."""
    parts = re.findall(r"[A-Za-z0-9_]+", channel)
    name = parts[-1] if parts and not parts[-1][0].isdigit() else f"signal_{len(taken) + 1}"
    while name in taken or name in RESERVED:
        name += "_"
    taken.add(name)
    return name


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
