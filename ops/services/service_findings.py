"""Faults of an installed service: `lumen doctor --service NAME`.

The units are read as systemd reads them, with their drop-ins, and held against the configuration:
a hardened unit refuses networks, devices and folders that a flow needs. Where systemd runs, the
state of the service is shown too. Nothing is changed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from configs.address import endpoint, is_loopback
from configs.connectors.kafka_out import KafkaDestination
from configs.connectors.lsl import LslDestination, LslStream
from configs.connectors.mqtt import MqttDestination, MqttStream, broker_of
from configs.document import ConfigError
from configs.inputs import FileStream, MidiStream, OscStream, UreStream
from configs.load import load
from configs.outputs import MidiDestination, OscDestination
from configs.schema import Config
from ops.services.install import CLOSED, CONFIGS
from ops.services.unit_file import Unit, last, read_unit, unit_files
from ops.text.diagnosis import Diagnosis

TIMERS = ("lumen-heartbeat.timer", "lumen-snapshot.timer", "lumen-drill.timer")
SHOWN = ("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
_INSTALL = "python -m ops.services.install"
_ANY = "0.0.0.0"
_YES = {"yes", "true", "on", "1"}
Show = Callable[[str], dict[str, str]]
"""Returns the properties `SHOWN` of a unit; none where systemd does not run."""


def shown_by_systemd(unit: str) -> dict[str, str]:
    """Return the properties of a unit as systemd shows them."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        return {}
    asked = ["systemctl", "show", unit, f"--property={','.join(SHOWN)}"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=10)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def examine_service(
    name: str, root: Path = Path("/"), show: Show = shown_by_systemd
) -> Iterator[Diagnosis]:
    """Yield all findings on the flow `name`."""
    service = f"lumen@{name}.service"
    files = unit_files(root, service)
    if not files:
        yield Diagnosis("bad", "unit", f"no {service} is installed", _INSTALL)
        return
    try:
        unit = read_unit(files)
    except OSError as error:
        yield Diagnosis("bad", "unit", f"{error.filename}: {error.strerror}", "run it as root")
        return
    added = f", {len(files) - 1} drop-ins" if files[1:] else ""
    yield Diagnosis("ok", "unit", f"{files[0]}{added}")
    yield _program(unit, root)
    yield from _configuration(root / CONFIGS, name, unit)
    yield from _state(service, show(service))
    yield from _timers(root)


def _program(unit: Unit, root: Path) -> Diagnosis:
    command = last(unit, "ExecStart").lstrip("-@:+!")
    words = shlex.split(command.replace("%%", "%").replace("$$", "$")) or [""]
    program = Path(words[0])
    if str(program).startswith(CLOSED):
        return Diagnosis(
            "bad", "program", f"a service cannot read {program}", "install into /opt/lumen"
        )
    if not os.access(root / str(program).lstrip("/"), os.X_OK):
        return Diagnosis("bad", "program", f"{program} is not there", _INSTALL)
    return Diagnosis("ok", "program", str(program))


def _configuration(folder: Path, name: str, unit: Unit) -> Iterator[Diagnosis]:
    path = folder / f"{name}.yaml"
    try:
        rights = path.stat().st_mode
        config = load(path).config
    except ConfigError as error:
        for line in error.lines():
            yield Diagnosis("bad", "config", line.removeprefix("lumen: "))
        return
    except OSError as error:
        yield Diagnosis("bad", "config", f"{path}: {error.strerror}", "put a configuration there")
        return
    if not rights & stat.S_IROTH:
        todo = f"chmod o+r {path}; secrets go into {name}.env"
        yield Diagnosis("bad", "config", f"{path} cannot be read by the user of the service", todo)
    else:
        yield Diagnosis("ok", "config", str(path))
    secrets = folder / f"{name}.env"
    with suppress(OSError):
        if secrets.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP):
            todo = f"chmod 600 {secrets}"
            yield Diagnosis("warn", "config", f"{secrets} can be read by others", todo)
    yield from _network(config, unit)
    yield from _devices(config, unit)
    yield from _folders(config, unit, name)


def _network(config: Config, unit: Unit) -> Iterator[Diagnosis]:
    """Compare addresses beyond loopback with those that the unit admits."""
    if "any" not in last(unit, "IPAddressDeny").split():
        return
    admitted = [word for line in unit.get("IPAddressAllow", ()) for word in line.split()]
    beyond = [where for where, host in _hosts(config) if not _is_local(host)]
    if beyond and set(admitted) <= {"localhost", "127.0.0.0/8", "::1/128"}:
        todo = "systemctl edit lumen@, with [Service] IPAddressAllow=192.168.0.0/16"
        found = f"the unit admits loopback alone, not {', '.join(beyond[:4])}"
        yield Diagnosis("bad", "network", found, todo)
    else:
        yield Diagnosis("ok", "network", f"{' '.join(admitted) or 'no address'} admitted")


def _hosts(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each address of a configuration, and its host."""
    for stream in config.streams:
        if isinstance(stream, OscStream):
            listens = endpoint(stream.addr)
            yield str(listens), listens.host
        elif isinstance(stream, UreStream):
            yield stream.name, urlsplit(stream.metrics_url).hostname or ""
        elif isinstance(stream, MqttStream):
            yield stream.broker, broker_of(stream.broker)[0]
        elif isinstance(stream, LslStream):
            yield f"LSL {stream.name}", _ANY
    for each in config.send:
        if isinstance(each, OscDestination):
            yield each.to, endpoint(each.to).host
        elif isinstance(each, MqttDestination):
            yield each.broker, broker_of(each.broker)[0]
        elif isinstance(each, KafkaDestination):
            yield from ((broker, endpoint(broker).host) for broker in each.brokers)
        elif isinstance(each, LslDestination):
            yield f"LSL {each.name}", _ANY
    if config.exporter is not None:
        yield f"exporter {config.exporter.host}", config.exporter.host


def _is_local(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _devices(config: Config, unit: Unit) -> Iterator[Diagnosis]:
    used = [s.name for s in config.streams if isinstance(s, MidiStream)]
    used += [s.name for s in config.send if isinstance(s, MidiDestination)]
    if used and last(unit, "PrivateDevices").lower() in _YES:
        todo = (
            "systemctl edit lumen@, with [Service] PrivateDevices=no DeviceAllow=char-alsa rw"
            " SupplementaryGroups=audio, a line each"
        )
        yield Diagnosis("bad", "midi", f"{', '.join(used)}: the unit opens no device", todo)


def _folders(config: Config, unit: Unit, name: str) -> Iterator[Diagnosis]:
    strict = last(unit, "ProtectSystem") == "strict"
    own = Path("/var/lib/lumen") / name
    open_too = [
        word.lstrip("-+") for line in unit.get("ReadWritePaths", ()) for word in line.split()
    ]
    written = [config.output.dir, *([config.tap.dir] if config.tap else [])]
    for folder in written:
        places = [own, *map(Path, open_too)]
        inside = any(Path(os.path.normpath(own / folder)).is_relative_to(p) for p in places)
        if strict and not inside:
            todo = f"name a folder below {own}, such as {Path(folder).name}"
            yield Diagnosis("bad", "folder", f"{folder} cannot be written", todo)
    if last(unit, "ProtectHome").lower() in _YES:
        for stream in config.streams:
            if isinstance(stream, FileStream) and stream.path.startswith(CLOSED[:3]):
                todo = f"move it below {own}"
                yield Diagnosis("bad", "folder", f"{stream.path} cannot be read", todo)


def _state(service: str, shown: dict[str, str]) -> Iterator[Diagnosis]:
    if not shown:
        yield Diagnosis("warn", "state", "systemd does not run here", "start the machine with it")
        return
    state = f"{shown.get('ActiveState', '?')} ({shown.get('SubState', '?')})"
    restarts, code = shown.get("NRestarts", "0"), shown.get("ExecMainStatus", "0")
    if shown.get("ActiveState") == "active" and restarts in ("", "0"):
        yield Diagnosis("ok", "state", state)
    elif shown.get("ActiveState") == "active":
        todo = f"journalctl -u {service}"
        yield Diagnosis("warn", "state", f"{state}, restarted {restarts} times", todo)
    elif code == "2":
        found = f"{state}: the configuration or a folder is refused"
        yield Diagnosis("bad", "state", found, f"journalctl -u {service} -n 5")
    elif shown.get("Result", "success") != "success":
        found = f"{state}: {shown['Result']}, code {code}"
        yield Diagnosis("bad", "state", found, f"journalctl -u {service} -n 20")
    else:
        yield Diagnosis("warn", "state", state, f"systemctl enable --now {service}")


def _timers(root: Path) -> Iterator[Diagnosis]:
    wanted = root / "etc/systemd/system/timers.target.wants"
    for timer in TIMERS:
        if not unit_files(root, timer):
            yield Diagnosis("warn", "timer", f"no {timer} is installed", _INSTALL)
        elif not (wanted / timer).is_symlink():
            todo = f"systemctl enable --now {timer}"
            yield Diagnosis("warn", "timer", f"{timer} is not enabled", todo)
        else:
            yield Diagnosis("ok", "timer", timer)
