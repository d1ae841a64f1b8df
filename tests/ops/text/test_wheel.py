"""The wheel: one package that works from an empty folder beside another project's `ops`."""

import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ops.text.wheel import PACKAGE, ROOMS, RewriteError, modules, rewrite, rewrite_text

ROOT = Path(__file__).parents[3]
KNOWN = frozenset({"flows", "flows.fusion", "operators", "operators.plan", "ops", "ops.cli"})


@pytest.mark.parametrize(
    ("source", "rewritten"),
    [
        ("from operators.plan import Plan\n", "from lumen_fusion.operators.plan import Plan\n"),
        ("from operators import Plan\n", "from lumen_fusion.operators import Plan\n"),
        ("if x:\n    from ops import cli\n", "if x:\n    from lumen_fusion.ops import cli\n"),
        ("import flows.fusion as f\n", "import lumen_fusion.flows.fusion as f\n"),
        ("import sys, ops.cli\n", "import sys, lumen_fusion.ops.cli\n"),
        ("import bytewax.operators as op\n", "import bytewax.operators as op\n"),
        ("from .ops import x\n", "from .ops import x\n"),
        ("x = 'flows.fusion'\n", "x = 'lumen_fusion.flows.fusion'\n"),
        ("x = f'ops.cli.{name}'\n", "x = f'lumen_fusion.ops.cli.{name}'\n"),
        (
            "x = f'flows.fusion:flow({y!r})'\n",
            "x = f'lumen_fusion.flows.fusion:flow({y!r})'\n",
        ),
        ("'import flows.fusion, ops.cli'\n",
         "'import lumen_fusion.flows.fusion, lumen_fusion.ops.cli'\n"),
        ("run('-m', 'ops', 'demo')\n", "run('-m', 'lumen_fusion.ops', 'demo')\n"),
        ("x = 'python -m ops demo'\n", "x = 'python -m lumen_fusion.ops demo'\n"),
        ('"""Text.\n\n`operators.plan.Plan`"""\n',
         '"""Text.\n\n`lumen_fusion.operators.plan.Plan`"""\n'),
        ('""">>> from operators import Plan"""\n',
         '""">>> from lumen_fusion.operators import Plan"""\n'),
    ],
)  # fmt: skip
def test_a_reference_to_a_module_gets_the_package(source, rewritten):
    assert rewrite(source, KNOWN) == rewritten


@pytest.mark.parametrize(
    "source",
    [
        "x = 'configs/fusion.yaml'\n",
        "x = 'ops/bench/RESULTS.md'\n",
        "x = 'ops'\n",
        "x = ['ops', '-m']\n",
        "x = 'flows.unknown.name'\n",
        "x = 'my.flows.fusion'\n",
        "x = 'bytewax.operators.plan'\n",
        "x = ops.cli\n",
        "x = 'python -m ops.unknown'\n",
    ],
)
def test_other_text_stays(source):
    assert rewrite(source, KNOWN) == source


def test_an_import_that_binds_a_room_is_refused():
    with pytest.raises(RewriteError, match=r"line 1: import flows\.fusion needs `as`"):
        rewrite("import flows.fusion\nflows.fusion.flow()\n", KNOWN)


def test_a_page_is_rewritten_like_a_string():
    page = "Run `python -m ops demo`,\nor `python -m ops.cli`: see ops/cli.\n"
    assert rewrite_text(page, KNOWN) == (
        "Run `python -m lumen_fusion.ops demo`,\n"
        "or `python -m lumen_fusion.ops.cli`: see ops/cli.\n"
    )


# -- installed ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel and install it; return the bin folder of an environment of its own.

    The environment has the dependencies of this one, and none of its editable installs.
    """
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    environment = place / "environment"
    venv = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
    subprocess.run(venv, check=True)
    paths = {name: str(environment) for name in ("base", "platbase")}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    scripts = Path(sysconfig.get_path("scripts", "venv", paths))
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "-qq"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return scripts


@pytest.fixture
def run(installed, tmp_path):
    """Return a function that runs a program of the environment in an empty folder."""

    def start(program, *arguments, folder=tmp_path):
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [str(installed / program), *arguments],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=110,
        )

    return start


def package(installed):
    (found,) = installed.parent.glob(f"lib/python*/site-packages/{PACKAGE}")
    return found


def test_the_wheel_has_one_package_that_imports_no_room_from_outside(installed):
    (found,) = installed.parent.glob("lib/python*/site-packages")
    folders = {path.name for path in found.iterdir() if path.suffix != ".dist-info"}
    assert folders == {PACKAGE, "dependencies.pth"}
    assert {path.name for path in (found / PACKAGE).iterdir()} >= set(ROOMS)
    for path in (found / PACKAGE).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            assert not {name.partition(".")[0] for name in names} & set(ROOMS), path


def test_the_wheel_holds_every_module_and_shipped_file(installed):
    inside = package(installed)
    assert modules(inside) == modules(ROOT)
    recordings = ("configs/recordings/demo.ndjson.gz", "configs/recordings/beats.ndjson.gz")
    for name in ("configs/stage.yaml", "configs/bridge.yaml", *recordings, "ops/examples"):
        assert (inside / name).exists()


def test_the_shipped_demo_runs_in_an_empty_folder(run, tmp_path):
    done = run("lumen", "demo")
    assert done.returncode == 0, done.stderr
    assert "Account of events, balanced" in done.stdout
    assert "-m bytewax.run lumen_fusion.flows.fusion" in done.stdout
    assert (tmp_path / "out" / "fused.jsonl").stat().st_size


def test_the_engine_runs_the_flow_below_the_package(run, tmp_path):
    done = run("python", "-m", "bytewax.run", "lumen_fusion.flows.fusion")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "fused.jsonl").stat().st_size


def test_smoke_replays_the_shipped_recording(run):
    done = run("lumen", "smoke")
    assert done.returncode == 0, done.stderr
    assert "verdict: OK" in done.stdout


def test_devices_of_a_shipped_configuration_play_by_its_name(run):
    done = run("lumen", "simulate", "--live", "stage", "--seconds", "1")
    assert done.returncode == 0, done.stderr
    assert "phone_1" in done.stdout


def test_a_process_of_the_flow_starts_from_the_package(run):
    script = (
        "from lumen_fusion.sinks.send.send_process import SendProcess\n"
        "player = SendProcess('x', 20.0, '127.0.0.1:9', 1.0)\n"
        "player.start()\n"
        "process = player._child._process\n"
        "player.stop()\n"
        "print(process.returncode)\n"
    )
    done = run("python", "-c", script)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_the_package_stands_beside_another_project(run, tmp_path):
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "__init__.py").write_text("OWNER = 'somebody else'\n")
    (tmp_path / "configs.py").write_text("OWNER = 'somebody else'\n")
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "import lumen_fusion, ops, configs\n"
        "import lumen_fusion.flows.fusion, lumen_fusion.ops.cli.demo\n"
        "assert ops.OWNER == configs.OWNER == 'somebody else'\n"
        "rooms = {'flows', 'operators', 'sources', 'sinks'}\n"
        "print(rooms & set(sys.modules))\n"
    )
    done = run("python", "-c", script)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_help_of_the_command_names_the_commands(run):
    done = run("lumen", "--help")
    assert done.returncode == 0
    assert "simulate" in done.stdout


def test_the_example_of_the_library_runs_below_the_package(run):
    script = (
        "import doctest\n"
        "from lumen_fusion.flows import pipeline\n"
        "print(tuple(doctest.testmod(pipeline)))\n"
    )
    done = run("python", "-c", script)
    assert (done.returncode, done.stdout) == (0, "(0, 10)\n"), done.stdout + done.stderr


def test_the_example_of_two_loggers_runs_below_the_package(run):
    done = run("python", "-m", "lumen_fusion.ops.examples.two_loggers")
    assert done.returncode == 0, done.stderr
    assert "1499 ticks" in done.stdout
