"""The names that users of v1.9 and v2.0a know: make targets, workflows, the environment."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from ops.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.search(r"^\.PHONY:(.*?[^\\])\n", MAKEFILE, re.DOTALL | re.MULTILINE)[1].split())
OLD = {
    "smoke", "alert.test", "promql-unit", "heartbeat-rules-lint", "grafana.import.min",
    "bench.scrape", "obs-lint", "ure.sync", "bridge.adaptive.start", "bridge.midi.poc",
    "bench.bridge", "e2e.probe", "tune.bridge", "autotune.bridge", "autotune.risk",
    "chaos.delay", "chaos.jitter", "chaos.spike", "pg.init", "pg.migrate",
    "db.snapshot", "backup.now", "restore.from", "snaps.prune", "wal.test",
    "api.contract.check",
}  # fmt: skip
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())

READ = r'os\.environ(?:\.get\(|\[)"([A-Z_]+)"|"((?:LUMEN|GRAFANA|ALERTMANAGER)_[A-Z_]+)"'
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def make(*arguments):
    """Return the output of `make`, the environment taken as made."""
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/ready", *arguments], cwd=ROOT, capture_output=True, text=True,
        check=True, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return done.stdout.replace("\\\n", " ")


@needs_make
def test_help_lists_every_target_with_its_command():
    new, _, old = make("help").partition("Names of v1.9 and v2.0a")
    stated = {line.split()[1]: " ".join(line.split()[2:]) for line in old.splitlines()[1:]}
    assert set(stated) >= OLD
    assert set(re.findall(r"^  make (\S+)", new, re.MULTILINE)) | set(stated) >= TARGETS - {"\\"}
    for name, command in stated.items():
        if command.startswith(("lumen", "python -m")):
            first = command.partition(" [")[0].replace("lumen", "python -m ops")
            assert first.replace("$REALM", "prod") in make("-n", name)


@needs_make
@pytest.mark.parametrize("target", sorted(OLD - {"obs-lint"}))
def test_the_modules_of_each_target_exist(target):
    called = re.findall(r"python -m (\S+)(?: (\w+))?", make("-n", target))
    assert called
    for module, word in called:
        assert find_spec(module)
        assert module != "ops" or word in COMMANDS


@needs_make
def test_a_realm_can_be_named():
    assert "--realm prod" in make("-n", "promql-unit")
    assert "--realm stage" in make("-n", "promql-unit", "REALM=stage")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_make_only(workflow):
    stated = yaml.safe_load(workflow.read_text())
    assert stated["name"] == workflow.stem
    assert stated["permissions"] == {"contents": "read"}
    for job in stated["jobs"].values():
        runs = [step["run"] for step in job["steps"] if "run" in step]
        assert runs
        for run in runs:
            if run == ".ci/run":
                assert (ROOT / run).stat().st_mode & 0o111
            elif run != "sudo apt-get update":
                argv = run.split()
                assert argv[0] == "make"
                assert {word for word in argv[1:] if "=" not in word} <= TARGETS


def test_each_python_that_is_promised_is_checked():
    stated = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    versions = stated["jobs"]["checks"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    low, high = re.findall(r"3\.(\d+)", project["requires-python"])
    minors = range(int(low), int(high))
    assert versions == [f"3.{minor}" for minor in minors]


def environment():
    """Every variable that code, configurations and tools of this repository read."""
    found = {"PYTHON"}
    for folder in ("configs", "flows", "operators", "ops", "sinks", "sources"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".yaml", ".yml"):
                found |= set(re.findall(r"\$\{([A-Z_]+)\}", path.read_text()))
            if path.suffix == ".py":
                found |= {a or b for a, b in re.findall(READ, path.read_text())}
    return found - {"TERM"}


def test_every_variable_is_in_the_example_and_no_other():
    example = (ROOT / ".env.example").read_text()
    stated = re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    assert sorted(stated) == sorted(environment())


SHOW = """
from flows.fusion import DEFAULT, os
from ops.cli.state_client import address
print(address(None), os.environ["LUMEN_CONFIG"] == DEFAULT)
"""


def test_the_example_environment_has_the_defaults():
    shown = subprocess.run(
        ["sh", "-ec", 'set -a; . ./.env.example; exec "$0" -c "$1"', sys.executable, SHOW],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == "http://127.0.0.1:9310 True\n"


def test_names_not_carried_over_are_absent():
    text = (ROOT / "ops" / "docs" / "MIGRATION.md").read_text()
    table = text.partition("# Coming from v1.9 or v2.0a")[2]
    gone = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")][1:]
    names = {name for cell in gone for name in re.findall(r"`([\w.*-]+)`", cell)}
    assert len(names) > 15
    assert not names & TARGETS
    scripts = {path.name for path in ROOT.glob("*/**/*.sh")}
    assert not names & scripts
