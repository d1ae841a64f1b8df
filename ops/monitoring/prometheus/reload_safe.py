"""Reload a Prometheus and verify the result: `python -m ops.monitoring.prometheus.reload_safe`.

Before the reload, the textfile folder has to be writable and the server's own configuration has to
pass promtool. The server is then reloaded up to three times, until it reports success and runs the
jobs and rules of the files. At last, its node exporter has to be up. A server that refuses the
configuration keeps its current rules.

Exit codes: 0 success; 1 a fault of the server, the reload or the node exporter;
2 a fault of the configuration, the folder or the command, and nothing was reloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from glob import glob
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from prometheus_client.parser import text_string_to_metric_families

from operators.errors import ToolError
from ops.monitoring.programs import PeerError, peer

TRIES = 3
PATIENCE_S = 15.0
"""Longest wait (s) for a reload, and for the scrape after it."""
_TIMEOUT_S = 10.0
_POLL_S = 0.2

Running: TypeAlias = tuple[list[str], dict[tuple[Path, str], list[str]]]
"""Jobs; the names of rules by file and group."""


class ReloadError(ToolError):
    """A fault, as one line of text; `code` is the exit code."""

    code = 1


class WrongError(ReloadError):
    """Nothing was reloaded: configuration, folder or command is wrong."""

    code = 2


class Prometheus:
    """Client of a running Prometheus.

    Parameters
    ----------
    url : str
    pid : int, optional
        Process to reload by SIGHUP instead of by a request.
    """

    def __init__(self, url: str, pid: int | None = None) -> None:
        self.url, self._pid = url.rstrip("/"), pid

    def config(self) -> Path:
        """Return the path of the server's configuration."""
        return self._path(self._api("status/flags")["config.file"])

    def running(self) -> Running:
        """Return the jobs and rules of the server."""
        return _jobs(self._config()), {
            (self._path(group["file"]), group["name"]): [rule["name"] for rule in group["rules"]]
            for group in self._api("rules")["groups"]
        }

    def reload(self) -> None:
        """Reload the server, and wait for the end of the reload.

        Raises
        ------
        ReloadError
            The server refused, or the wait timed out.
        """
        before = self._reloaded()
        if self._pid is None:
            self._get("/-/reload", method="POST")
        else:
            try:
                os.kill(self._pid, signal.SIGHUP)
            except OSError as error:
                raise ReloadError(f"process {self._pid}: {error.strerror}") from None
        if not _soon(lambda: self._reloaded() != before) or not self._reloaded():
            raise ReloadError(f"{self.url} has not taken the configuration: see its log")

    def down(self, job: str) -> str:
        """Return the faults of a job's targets; empty if all are up."""
        targets = self._api("targets?state=active")["activeTargets"]
        ours = {t["discoveredLabels"]["__address__"]: t for t in targets if t["scrapePool"] == job}
        # For some seconds after a reload, the server still has its former targets.
        missing = {
            address
            for scraped in self._config().get("scrape_configs", [])
            if scraped["job_name"] == job
            for fixed in scraped.get("static_configs", [])
            for address in fixed["targets"]
        } - ours.keys()
        if missing or not ours:
            return f"{self.url} does not scrape {', '.join(sorted(missing)) or 'any'} of job {job}"
        bad = [target for target in ours.values() if target["health"] != "up"]
        lines = (f"{t['scrapeUrl']} is {t['health']}: {t['lastError']}".rstrip(": ") for t in bad)
        return "; ".join(lines)

    def _reloaded(self) -> float:
        """Return the time of the last successful reload, 0 if the newest was refused."""
        page = self._get("/metrics").decode()
        values = {
            family.name: family.samples[0].value
            for family in text_string_to_metric_families(page)
            if family.name.startswith("prometheus_config_last_reload")
        }
        taken = values["prometheus_config_last_reload_successful"] == 1
        return values["prometheus_config_last_reload_success_timestamp_seconds"] if taken else 0.0

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(self._api("status/config")["yaml"])
        return config

    def _path(self, name: str) -> Path:
        return Path(self._api("status/runtimeinfo")["CWD"], name).resolve()

    def _api(self, path: str) -> Any:
        try:
            return json.loads(self._get(f"/api/v1/{path}"))["data"]
        except (ValueError, LookupError, TypeError):
            raise ReloadError(f"the server at {self.url} is no Prometheus") from None

    def _get(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace").strip().replace("\n", " ")
            if error.code == 403:
                text += ": start it with --web.enable-lifecycle, or name its process by --pid"
            raise ReloadError(f"{self.url}{path}: {text or error.reason}") from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", error)
            raise ReloadError(f"no Prometheus answers at {self.url}: {why}") from None


def reload_safe(server: Prometheus, textfile: Path, promtool: str, node_job: str = "node") -> str:
    """Check, reload, verify; return a summary of the running configuration.

    Parameters
    ----------
    server : Prometheus
    textfile : Path
        Folder of the node exporter.
    promtool : str
        Path of promtool.
    node_job : str
        Job whose targets have to be up after the reload.

    Raises
    ------
    ReloadError
        A check, the reload or the verification failed.
    """
    _check_folder(textfile)
    config = server.config()
    _check_config(config, promtool)
    for remaining in reversed(range(TRIES)):
        try:
            server.reload()
            jobs, rules = _verified(server, config)
            break
        except ReloadError as error:
            if not remaining:
                raise ReloadError(f"tried {TRIES} times: {error}") from None
            time.sleep(_POLL_S)
    if not _soon(lambda: not server.down(node_job)):
        raise ReloadError(f"reloaded, but {server.down(node_job)}")
    return f"{config}: {len(jobs)} jobs, {sum(map(len, rules.values()))} rules"


def _check_folder(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WrongError(f"textfile folder {folder}: {error.strerror}") from None


def _check_config(config: Path, promtool: str) -> None:
    """Refuse a configuration with any fault that promtool finds, rules included."""
    done = subprocess.run((promtool, "check", "config", config), capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
        wrong = " ".join(line for line in lines if line and line != "FAILED:")
        raise WrongError(f"{config}: {wrong.removeprefix('FAILED: ')}")


def _verified(server: Prometheus, config: Path) -> Running:
    """Return the running jobs and rules if they are those of the files."""
    wanted = _written(config)
    running = server.running()
    if running != wanted:
        raise ReloadError(f"{server.url} does not run the contents of {config}")
    return running


def _written(config: Path) -> Running:
    """Return the jobs and rules of the files."""
    text = yaml.safe_load(config.read_text("utf-8"))
    rules: dict[tuple[Path, str], list[str]] = {}
    for pattern in text.get("rule_files", []):
        # `pattern` may be an absolute path, which no Path globs.
        for path in map(Path, glob(str(config.parent / pattern))):  # noqa: PTH207
            for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
                names = [rule.get("record") or rule["alert"] for rule in group["rules"]]
                rules[path.resolve(), group["name"]] = names
    return _jobs(text), rules


def _jobs(config: dict[str, Any]) -> list[str]:
    return sorted(job["job_name"] for job in config.get("scrape_configs", []))


def _soon(true: Callable[[], bool]) -> bool:
    """Wait for a condition; return whether it held in time."""
    end = time.monotonic() + PATIENCE_S
    while not (done := true()) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return done


def main() -> int:
    """Reload, and print the running configuration or the fault."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.monitoring.prometheus.reload_safe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", default="http://127.0.0.1:9090", help="default %(default)s")
    parser.add_argument(
        "--textfile",
        type=Path,
        default=Path("/var/lib/prometheus/node-exporter"),
        metavar="DIR",
        help="the node exporter's --collector.textfile.directory; default %(default)s",
    )
    parser.add_argument("--pid", type=int, help="reload by SIGHUP, where requests may not")
    args = parser.parse_args()
    try:
        print(reload_safe(Prometheus(args.url, args.pid), args.textfile, peer("promtool")))
    except (ReloadError, PeerError) as error:
        print(f"lumen: {error}", file=sys.stderr)
        return error.code if isinstance(error, ReloadError) else 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
