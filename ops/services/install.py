"""Install the systemd units, and what belongs to them.

    python -m ops.services.install [--config FILE] [--name NAME] [--prometheus DIR]

Units get the path of this interpreter, a configuration is checked and becomes
`/etc/lumen/NAME.yaml`. Prometheus gets the shipped rules and its configuration; the one before it
is kept. Changes of an operator belong into drop-ins (`systemctl edit`): units are replaced.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.inert import guard
from configs.load import load
from operators.errors import LumenError, ToolError

SHIPPED = Path(__file__).with_name("systemd")
RULES = Path(__file__).parents[1] / "monitoring" / "prometheus"
UNITS, USERS, CONFIGS = "etc/systemd/system", "etc/sysusers.d", "etc/lumen"
HEARTBEAT = "ops.monitoring.heartbeat"
CLOSED = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")
"""Folders that a service cannot read."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,25}")
"""Names of flows: a user's name, `lumen-NAME`, has at most 31 characters."""
_README = """Units: systemctl cat lumen@NAME; remedies: lumen doctor --service NAME
Configuration of a flow: /etc/lumen/NAME.yaml; its secrets: /etc/lumen/NAME.env (mode 0600)
Results: /var/lib/lumen/NAME/out; log: journalctl -u lumen@NAME
"""


class InstallError(ToolError):
    """Something that cannot be installed: one line with the reason."""


def flow_name(text: str) -> str:
    """Return the name of a flow; an invalid one is an argument error."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 25 letters, digits, _ or -")
    return text


def unit_text(text: str, python: Path) -> str:
    """Return a shipped unit for an interpreter.

    Parameters
    ----------
    text : str
    python : Path
        In an environment that holds this program.
    """
    script = python.with_name("lumen")
    lumen = _quoted(script) if script.is_file() else f"{_quoted(python)} -P -m ops"
    values = {"@LUMEN@": lumen, "@PYTHON@": _quoted(python), "@HEARTBEAT@": HEARTBEAT}
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _quoted(path: Path) -> str:
    """Return a path as a command line of systemd has it."""
    text = str(path).replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if re.search(r"\s", text) else text


def install(root: Path, python: Path, config: Path | None, name: str, rules: Path | None) -> None:
    """Write the files.

    Parameters
    ----------
    root : Path
        Folder in place of `/`.
    python : Path
        Interpreter that runs the services.
    config : Path or None
        Configuration of the flow `name`.
    name : str
    rules : Path or None
        Folder of Prometheus, in place of `/etc/prometheus`.

    Raises
    ------
    ConfigError
        The configuration has faults.
    InstallError
        Another configuration of that name is installed.
    OSError
        A file cannot be written.
    """
    if config is not None:
        load(config)
    units, users, configs = (_made(root / each) for each in (UNITS, USERS, CONFIGS))
    for path in sorted(SHIPPED.iterdir()):
        if path.suffix in (".service", ".timer"):
            (units / path.name).write_text(unit_text(path.read_text("utf-8"), python), "utf-8")
        elif path.suffix == ".sysusers":
            shutil.copyfile(path, users / f"{path.stem}.conf")
    (configs / "README").write_text(_README, "utf-8")
    if config is not None:
        target = configs / f"{name}.yaml"
        if target.exists() and target.read_bytes() != config.read_bytes():
            raise InstallError(f"{target} is another configuration: move it away, or edit it there")
        shutil.copyfile(config, target)
        target.chmod(0o644)
    if rules is not None:
        _prometheus(rules)


def _prometheus(folder: Path) -> None:
    """Write rules and configuration of Prometheus; keep the configuration before."""
    _made(folder / "rules")
    for path in sorted((RULES / "rules").glob("*.yml")):
        shutil.copyfile(path, folder / "rules" / path.name)
    target, text = folder / "prometheus.yml", (RULES / "prometheus.yml").read_text("utf-8")
    if target.exists() and target.read_text("utf-8", errors="replace") != text:
        target.replace(target.with_name("prometheus.yml.before"))
    target.write_text(text, "utf-8")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration of the flow")
    parser.add_argument("--name", type=flow_name, default="main", help="default %(default)s")
    parser.add_argument(
        "--prometheus", type=Path, metavar="DIR", help="also its configuration and rules"
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="write below this folder"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Install; return 1 where a file cannot be written, 2 where something is refused."""
    guard()
    parser = argparse.ArgumentParser(
        prog="python -m ops.services.install", description="Install the systemd units."
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    python = Path(sys.executable)
    try:
        install(args.root, python, args.config, args.name, args.prometheus)
    except LumenError as error:
        print(*error.lines(), sep="\n", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"lumen: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if f"{python}".startswith(CLOSED):
        print(f"lumen: a service cannot read {python}: install into /opt/lumen", file=sys.stderr)
    if args.root == Path("/") and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemd-sysusers"], check=True)
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    print(f"Next: systemctl enable --now lumen@{args.name} lumen-heartbeat.timer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
