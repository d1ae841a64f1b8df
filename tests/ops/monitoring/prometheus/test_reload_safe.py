"""A real Prometheus that is reloaded, or refuses, or is not there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.fakes.monitoring import Slack, node_exporter, prometheus, wait_for
from ops.fakes.ports import free_port
from ops.monitoring.heartbeat import beat
from ops.monitoring.programs import peer
from ops.monitoring.prometheus.reload_safe import Prometheus, ReloadError, reload_safe
from tests.support import skips
from tests.support.programs import missing_peers

ROOT = Path(__file__).parents[4]
CONFIG = """global: {{scrape_interval: 1s, scrape_timeout: 1s}}
rule_files: [rules/*.yml]
scrape_configs:
  - {{job_name: node, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
"""
RULES = "groups:\n  - {{name: g, rules: [{{record: {name}, expr: vector(1)}}]}}\n"


class Watched:
    """A Prometheus with one rule, and the node exporter that it scrapes."""

    def __init__(self, folder: Path) -> None:
        self.textfile, self.config = folder / "textfile", folder / "prometheus.yml"
        self.rules = folder / "rules" / "some.yml"
        self.textfile.mkdir()
        self.rules.parent.mkdir()
        self.node_port, port = free_port(), free_port()
        self.config.write_text(CONFIG.format(port=self.node_port))
        self.write("first")
        self.url, self.port = f"http://127.0.0.1:{port}", port

    def write(self, name: str) -> None:
        self.rules.write_text(RULES.format(name=name))

    def runs(self) -> list[list[str]]:
        return list(Prometheus(self.url).running()[1].values())


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, int]]:
    if absent := missing_peers("prometheus", "promtool", "prometheus-node-exporter"):
        pytest.skip(skips.reason(absent, "peers"))
    watched = Watched(tmp_path_factory.mktemp("watched"))
    with (
        node_exporter(watched.textfile, watched.node_port),
        prometheus(watched.config, watched.port) as process,
    ):
        wait_for("a scrape", lambda: not Prometheus(watched.url).down("node"))
        yield watched, process.pid


@pytest.fixture
def watched(started: tuple[Watched, int]) -> Watched:
    """Return it as it was in the beginning."""
    watched, _ = started
    watched.config.write_text(CONFIG.format(port=watched.node_port))
    watched.write("first")
    Prometheus(watched.url).reload()
    return watched


def reload(watched: Watched, **more: Any) -> subprocess.CompletedProcess[str]:
    options = {"url": watched.url, "textfile": watched.textfile, **more}
    return subprocess.run(
        [sys.executable, "-m", "ops.monitoring.prometheus.reload_safe",
         *(f"--{name}={value}" for name, value in options.items())],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line with which it ended."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done
    return done.stderr.removeprefix("lumen: ")


def test_new_rules_run_after_the_reload_and_are_reported(watched: Watched) -> None:
    watched.write("second")
    done = reload(watched)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{watched.config}: 1 jobs, 1 rules\n"
    assert watched.runs() == [["second"]]


def test_a_signal_does_as_well(watched: Watched, started: tuple[Watched, int]) -> None:
    watched.write("second")
    assert reload(watched, pid=started[1]).returncode == 0
    assert watched.runs() == [["second"]]


def test_a_broken_rule_file_is_named_and_the_old_rules_stay(watched: Watched) -> None:
    watched.rules.write_text(RULES.format(name="second").replace("vector(1)", "vector("))
    message = refused(reload(watched), 2)
    assert message.startswith(f"{watched.config}: ")
    assert "some.yml" in message
    assert "parse error" in message
    assert watched.runs() == [["first"]]


def test_what_only_the_server_refuses_is_tried_three_times_and_the_old_rules_stay(
    watched: Watched, tmp_path: Path
) -> None:
    blind = tmp_path / "promtool"
    blind.write_text("#!/bin/sh\n")
    blind.chmod(0o755)
    watched.rules.write_text("groups: none\n")
    with pytest.raises(ReloadError, match=r"tried 3 times: .*failed to reload config"):
        reload_safe(Prometheus(watched.url), watched.textfile, str(blind))
    assert watched.runs() == [["first"]]


def test_a_server_with_other_contents_is_reported(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prometheus, "running", lambda self: (["node"], {}))
    with pytest.raises(ReloadError, match="does not run the contents of"):
        reload_safe(Prometheus(watched.url), watched.textfile, peer("promtool"))


def test_a_dead_server_is_named(watched: Watched) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    message = refused(reload(watched, url=url), 1)
    assert message == f"no Prometheus answers at {url}: [Errno 111] Connection refused\n"


def test_somebody_else_who_answers_is_not_taken_for_it(watched: Watched) -> None:
    with Slack() as slack:  # takes POST alone
        assert refused(reload(watched, url=slack.url), 1).startswith(f"{slack.url}/api/v1/status/")
    with pytest.raises(ReloadError, match="is no Prometheus"):
        Prometheus(f"{watched.url}/metrics?").config()


def test_a_process_that_is_not_there_is_named(watched: Watched) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    message = refused(reload(watched, pid=process.pid), 1)
    assert message == f"tried 3 times: process {process.pid}: No such process\n"


@pytest.mark.parametrize("there", [False, True])
def test_a_textfile_folder_that_cannot_be_written_to_is_named(
    watched: Watched, tmp_path: Path, there: bool
) -> None:
    folder = tmp_path / "textfile"
    if there:
        folder.touch()
    watched.write("second")
    assert refused(reload(watched, textfile=folder), 2).startswith(f"textfile folder {folder}: ")
    assert watched.runs() == [["first"]]


def test_a_node_exporter_that_is_down_is_named(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    watched.config.write_text(CONFIG.format(port=port))
    monkeypatch.setattr("ops.monitoring.prometheus.reload_safe.PATIENCE_S", 8.0)
    with pytest.raises(ReloadError, match=rf"reloaded, but .*:{port}/metrics is down: .*refused"):
        reload_safe(Prometheus(watched.url), watched.textfile, peer("promtool"))


def test_a_configuration_without_a_node_exporter_is_reported(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.config.write_text(CONFIG.format(port=1).replace("job_name: node", "job_name: other"))
    monkeypatch.setattr("ops.monitoring.prometheus.reload_safe.PATIENCE_S", 0.5)
    with pytest.raises(ReloadError, match="does not scrape any of job node"):
        reload_safe(Prometheus(watched.url), watched.textfile, peer("promtool"))


def test_what_the_check_leaves_in_the_folder_is_nothing(watched: Watched) -> None:
    beat(watched.textfile, "prod")
    before = sorted(watched.textfile.iterdir())
    assert reload(watched).returncode == 0
    assert sorted(watched.textfile.iterdir()) == before


def test_a_refusal_without_lifecycle_names_the_remedy(watched: Watched, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config, port = Path(shutil.copy(watched.config, other)), free_port()
    with prometheus(config, port, flags=()):
        time.sleep(0.1)
        message = refused(reload(watched, url=f"http://127.0.0.1:{port}"), 1)
    assert "Lifecycle API is not enabled" in message
    assert message.endswith("start it with --web.enable-lifecycle, or name its process by --pid\n")
