"""What others made is fetched by hash or commit, runs no code meanwhile, and names no registry."""

import json
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from ops.text.licences import declared, main

ROOT = Path(__file__).parents[3]
TABLES = ROOT / "tests" / "ops" / "results" / "requirements.tables.lock"
LOCKS = [*sorted(ROOT.glob("requirements*.lock")), TABLES]
NPM_LOCKS = [
    ROOT / "ops/monitoring/grafana/schema/package-lock.json",
    ROOT / "tests/fault/senders/package-lock.json",
    ROOT / "tests/ops/services/argo/package-lock.json",
]
ADDRESS = re.compile(
    r"pypi(\.python)?\.org|pythonhosted\.org|npmjs\.(org|com)|yarnpkg\.com|deb\.debian\.org"
    r"|--(extra-)?index-url|(?<!-)\bindex-url\s*=|(PIP|UV)_[A-Z_]*INDEX|--find-links"
    r'|"resolved":\s*"\w+:|--registry\b',
    re.IGNORECASE,
)
USED = re.compile(r"\buses:\s*(\S+)(.*)")
PINNED = re.compile(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}")
COMMENT = re.compile(r"\s+# v\d+\.\d+\.\d+")
PIP = re.compile(r"\b(pip3?|pipx|uv tool|uv pip)\s+(install|sync|download|wheel|run)\b")
NPM = re.compile(r"\b(npm (ci|install|i|add|update|exec)|npx|yarn|pnpm)(?=\s|$)")
OWN = re.compile(
    r"^pipx? install (--pip-args=--no-compile )?'?lumen-fusion(\[[a-z,]+\])?'?(?= *(#|$))",
    re.MULTILINE,
)
"""What a page shows to users: the published project itself, by its name and nothing else."""
REQUIREMENT = re.compile(r"([a-z0-9][a-z0-9.-]*)==(\S+)")


def tracked():
    asked = ["git", "-C", str(ROOT), "ls-files", "-z"]
    found = subprocess.run(asked, capture_output=True, check=False)
    if found.returncode:
        pytest.skip("this folder is no work tree of git: its files cannot be listed")
    return [ROOT / name for name in found.stdout.decode().split("\0") if name]


def recipes():
    """Return every file whose lines are run."""
    return [
        path
        for path in tracked()
        if path.name in {"Makefile", "run"} or path.suffix in {".sh", ".yml", ".yaml", ".md"}
    ]


def unpinned(text):
    return [
        line.strip()
        for line in text.splitlines()
        for used in [USED.search(line)]
        if used and not used[1].startswith("./")
        if not (PINNED.fullmatch(used[1]) and COMMENT.fullmatch(used[2]))
    ]


def unsafe(text):
    """Return the commands that fetch without a hash, or run what they fetch."""
    commands = re.split(r"&&|\|\||;|\n", text.replace("\\\n", " "))
    found = []
    for command in commands:
        fetched = all(part in command for part in ("--require-hashes", "--only-binary :all:", "-r"))
        if PIP.search(command) and not fetched and "--no-index" not in command:
            found.append(command.strip())
        npm = NPM.search(command)
        if npm and not (
            (npm[0] == "npm ci" and "--ignore-scripts" in command)
            or (npm[0] == "npm exec" and "--offline" in command)
        ):
            found.append(command.strip())
    return found


def pins(lock):
    """Return versions by name, each requirement with its lines of hashes."""
    entries = re.split(r"\n(?=[a-z0-9])", lock.read_text())
    found = {}
    for entry in entries:
        name = REQUIREMENT.match(entry)
        assert name, entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name[0]
        found.setdefault(name[1], set()).add(name[2])
    return found


@pytest.mark.parametrize(
    "line",
    [
        "- uses: actions/checkout@v4",
        "- uses: actions/checkout@main",
        "- uses: actions/checkout@" + "a" * 39 + "  # v4.4.0",
        "- uses: actions/checkout@" + "a" * 40,
        "uses: docker://alpine:3",
    ],
)
def test_an_action_without_its_commit_or_version_is_found(line):
    assert unpinned(line) == [line]


def test_a_pinned_action_and_one_of_this_tree_pass():
    assert not unpinned("- uses: a/b/c@" + "0" * 40 + "  # v1.2.3\n- uses: ./.github/own\n")


@pytest.mark.parametrize(
    "line",
    [
        "pip install uv",
        "python -m pip install --require-hashes -r a.lock",
        "python -m pip install --only-binary :all: -r a.lock",
        "pip install \\\n  -q uv",
        "true && uv pip install x",
        "pipx run x",
        "npm ci",
        "npm install --ignore-scripts",
        "npm exec x",
        "npx x",
    ],
)
def test_a_command_that_fetches_without_a_hash_or_runs_it_is_found(line):
    assert len(unsafe(line)) == 1


def test_commands_that_fetch_by_hash_alone_pass():
    assert not unsafe(
        "pip install --require-hashes --only-binary :all: -r a.lock\npip install --no-index -e .\n"
        "npm ci --prefix x --ignore-scripts && npm exec --offline -- x\nuv pip compile x\n"
    )


@pytest.mark.parametrize(
    "line", ["pip install lumen-fusion uv", "pip install lumen-fusion2", "pipx install other"]
)
def test_a_page_shows_no_other_package(line):
    assert len(unsafe(OWN.sub("", line))) == 1


def test_actions_are_pinned_by_commit():
    files = [path for path in tracked() if ".github" in path.parts]
    assert sum(len(USED.findall(path.read_text())) for path in files) >= 5
    assert [fault for path in files for fault in unpinned(path.read_text())] == []


def test_everything_is_fetched_by_hash_and_nothing_of_it_runs():
    texts = [
        OWN.sub("", path.read_text()) if path.suffix == ".md" else path.read_text()
        for path in recipes()
    ]
    assert sum(len(PIP.findall(text)) + len(NPM.findall(text)) for text in texts) >= 6
    assert [fault for text in texts for fault in unsafe(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "https://pypi" + ".org/simple",
        "pip --index" + "-url x",
        "PIP_INDEX" + "_URL=x",
        '"resolved' + '": "https:',
    ],
)
def test_an_address_of_a_registry_is_found(text):
    assert ADDRESS.search(text)


def test_no_file_names_a_registry():
    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for path in tracked()
        if path != Path(__file__) and path.is_file() and not path.is_symlink()
        for hit in [ADDRESS.search(path.read_text("utf-8", errors="replace"))]
        if hit
    ]
    assert found == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_has_its_version_and_hash(lock):
    assert pins(lock)


def test_the_locks_hold_what_they_are_for_and_agree():
    everything, product, tools = (
        pins(ROOT / f"requirements{kind}.lock") for kind in ("", ".run", ".tools")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[<>=!~ ;]", one)[0] for one in project["dependencies"]}
    assert {re.sub(r"[._]", "-", name).lower() for name in needed} <= product.keys()
    assert {"pip", "hatchling", "editables"} <= everything.keys()
    assert not product.keys() & {"pip", "hatchling", "pytest", "ruff"}
    assert {"pip", "uv", "cyclonedx-bom"} <= tools.keys()
    assert not everything.keys() & {"uv", "cyclonedx-bom"}
    assert {name: everything.get(name) for name in product} == product
    tables, bench = pins(TABLES), pins(ROOT / "requirements.bench.lock")
    assert project["optional-dependencies"]["bench"] == [f"polars=={min(bench['polars'])}"]
    assert {name: tables.get(name) for name in bench} == bench
    assert not bench.keys() & everything.keys()
    assert {"pandas", "polars", "pyarrow"} <= tables.keys()
    shared = tables.keys() & everything.keys()
    assert {name: tables[name] for name in shared} == {name: everything[name] for name in shared}


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=lambda lock: lock.parent.name)
def test_every_package_of_npm_has_its_hash(lock):
    packages = json.loads(lock.read_text())["packages"]
    fetched = {name: entry for name, entry in packages.items() if name}
    assert fetched
    assert all(entry["integrity"].startswith("sha512-") for entry in fetched.values())


def test_a_release_has_a_bill_of_materials_and_the_licences():
    done = subprocess.run(
        ["make", "-n", "-B", "release"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for part in ("cyclonedx-py environment", "dist/sbom.json", "dist/licences.txt", "SHA256SUMS"):
        assert part in done.stdout
    assert unsafe(done.stdout) == []


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"expression": "MIT OR 0BSD"}], "MIT OR 0BSD"),
        ([{"license": {"id": "MIT"}}, {"license": {"id": "MIT"}}], "MIT"),
        ([{"license": {"name": "License :: OSI Approved :: BSD License"}}], "BSD License"),
        ([{"license": {"name": "declared", "text": {"content": "…"}}}], ""),
    ],
)
def test_licences_stand_as_they_are_declared(entries, expected):
    assert declared({"licenses": entries}) == expected


def bill(folder, *components):
    path = folder / "sbom.json"
    path.write_text(json.dumps({"bomFormat": "CycloneDX", "components": components}))
    return path


def test_licences_are_listed_with_their_texts(tmp_path):
    names = ("numpy", "bytewax")
    parts = [{"name": name, "version": version(name)} for name in names]
    parts[0]["licenses"] = [{"expression": "BSD-3-Clause"}]
    assert main([str(bill(tmp_path, *parts)), str(tmp_path / "list.txt")]) == 0
    lines = (tmp_path / "list.txt").read_text().splitlines()
    assert lines[0] == f"bytewax {version('bytewax')}: named in its text alone"
    assert lines[1] == f"numpy {version('numpy')}: BSD-3-Clause"
    assert sum("Apache License" in line for line in lines) >= 1
    assert any(line.startswith("Copyright (c)") and "NumPy" in line for line in lines)


@pytest.mark.parametrize("components", [[], [{"name": "no-such-thing", "version": "1"}]])
def test_a_bill_without_licences_is_refused(tmp_path, capsys, components):
    assert main([str(bill(tmp_path, *components)), str(tmp_path / "list.txt")]) == 1
    assert not (tmp_path / "list.txt").exists()
    assert "no licence of" in capsys.readouterr().err
