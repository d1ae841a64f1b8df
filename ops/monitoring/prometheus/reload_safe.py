"""Reload a Prometheus and see that it has: `python -m ops.monitoring.prometheus.reload_safe`.

Checked before: the textfile folder can be written to, and promtool finds nothing wrong with the
very configuration that the server was started with. Then it is reloaded, up to three times, until
it says that it succeeded, and runs the jobs and rules that stand in the files. Last, its node
exporter has to be up. A server that refuses goes on with the rules it has.

Exit codes: 0 all is well; 1 the server, the reload or the node exporter is not as it should be;
2 configuration, folder or command are wrong, and nothing was reloaded.
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
"""For a reload to be done, and for a scrape after it."""
_TIMEOUT_S = 10.0
_POLL_S = 0.2

Running: TypeAlias = tuple[list[str], dict[tuple[Path, str], list[str]]]
"""Jobs; the names of rules by file and group."""


class ReloadError(ToolError):
    """Something is not as it should be: one line that says what. `code` is the exit code."""

    code = 1


class WrongError(ReloadError):
    """Nothing was reloaded, for what was to be is wrong."""

    code = 2


class Prometheus:
    """A server that runs, as it is seen from outside.

    Parameters
    ----------
    url : str
    pid : int, optional
        Reload it by SIGHUP, and not by a request.
    """

    def __init__(self, url: str, pid: int | None = None) -> None:
        self.url, self._pid = url.rstrip("/"), pid

    def config(self) -> Path:
        """Return the path of the configuration that it was started with."""
        return self._path(self._api("status/flags")["config.file"])

    def running(self) -> Running:
        """Return what it runs."""
        return _jobs(self._config()), {
            (self._path(group["file"]), group["name"]): [rule["name"] for rule in group["rules"]]
            for group in self._api("rules")["groups"]
        }

    def reload(self) -> None:
        """Reload it, and wait until it is done.

        Raises
        ------
        ReloadError
            It refused, or is not done in time.
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
            raise ReloadError(f"{self.url} has not taken the configuration: its log says why")

    def down(self, job: str) -> str:
        """Return what is wrong with the targets of a job, nothing if they are all up."""
        targets = self._api("targets?state=active")["activeTargets"]
        ours = {t["discoveredLabels"]["__address__"]: t for t in targets if t["scrapePool"] == job}
        # For some seconds after a reload it goes on with the targets that it had.
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
        said = (f"{t['scrapeUrl']} is {t['health']}: {t['lastError']}".rstrip(": ") for t in bad)
        return "; ".join(said)

    def _reloaded(self) -> float:
        """Return when it last took a configuration, 0 if the newest was refused."""
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
            raise ReloadError(f"who answers at {self.url} is no Prometheus") from None

    def _get(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace").strip().replace("\n", " ")
            if error.code == 403:
                said += ": start it with --web.enable-lifecycle, or name its process by --pid"
            raise ReloadError(f"{self.url}{path}: {said or error.reason}") from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", error)
            raise ReloadError(f"no Prometheus answers at {self.url}: {why}") from None


def reload_safe(server: Prometheus, textfile: Path, promtool: str, node_job: str = "node") -> str:
    """Check, reload, verify; return what runs now.

    Parameters
    ----------
    server : Prometheus
    textfile : Path
        The node exporter's folder.
    promtool : str
        Its path.
    node_job : str
        The job whose targets have to be up in the end.

    Raises
    ------
    ReloadError
        Something is not as it should be.
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
    """Refuse a configuration in which promtool finds anything wrong, its rules included."""
    done = subprocess.run((promtool, "check", "config", config), capture_output=True, text=True)
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
        wrong = " ".join(line for line in said if line and line != "FAILED:")
        raise WrongError(f"{config}: {wrong.removeprefix('FAILED: ')}")


def _verified(server: Prometheus, config: Path) -> Running:
    """Return what runs, if that is what stands in the files."""
    wanted = _written(config)
    running = server.running()
    if running != wanted:
        raise ReloadError(f"{server.url} does not run what stands in {config}")
    return running


def _written(config: Path) -> Running:
    """Return what the files ask for."""
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
    """Wait until it is true; return whether it is in time."""
    end = time.monotonic() + PATIENCE_S
    while not (done := true()) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return done


def main() -> int:
    """Reload, and say what runs, or what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.monitoring.prometheus.reload_safe", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--url", default="http://127.0.0.1:9090", help="default %(default)s")
    parser.add_argument(
        "--textfile", type=Path, default=Path("/var/lib/prometheus/node-exporter"), metavar="DIR",
        help="the node exporter's --collector.textfile.directory; default %(default)s",
    )  # fmt: skip
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
