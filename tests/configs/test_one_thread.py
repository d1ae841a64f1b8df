"""One BLAS thread comes from the entry points; a library import leaves the environment alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.one_thread import BLAS_THREADS

ROOT = Path(__file__).parents[2]
LIBRARIES = ("operators", "flows.pipeline", "configs.load", "sinks.output", "sources.live.live")
THREADS = f"""
import ctypes, os, numpy
lines = open('/proc/self/maps').read().splitlines()
path = next(x.split()[-1] for x in lines if 'openblas' in x)
blas = ctypes.CDLL(path)
names = [f'{{a}}openblas_get_num_threads{{b}}' for a in ('scipy_', '') for b in ('64_', '')]
count = next(getattr(blas, name) for name in names if hasattr(blas, name))
print('threads', count(), os.environ['{BLAS_THREADS}'])
"""
"""Prints the number of BLAS threads of a process, and of its children."""


def run_python(*arguments, **more):
    environ = {k: v for k, v in os.environ.items() if k != BLAS_THREADS}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environ | more, timeout=100, text=True,
        check=True, capture_output=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("module", LIBRARIES)
def test_an_import_leaves_the_environment_alone(module):
    code = f"import os; before = dict(os.environ); import {module}; print(before == os.environ)"
    assert run_python("-c", code).split() == ["True"]


@pytest.mark.skipif(sys.platform != "linux", reason="the libraries of a process are in /proc")
@pytest.mark.parametrize("given", [None, "2"])
def test_the_command_has_one_blas_thread_unless_another_number_is_set(given):
    code = f"from ops.__main__ import main; main(['check', 'configs/fusion.yaml'])\n{THREADS}"
    found = run_python("-c", code, **({BLAS_THREADS: given} if given else {}))
    count, set_to = found.splitlines()[-1].split()[1:]
    assert set_to == (given or "1")
    assert int(count) <= int(set_to)


@pytest.mark.skipif(sys.platform != "linux", reason="the libraries of a process are in /proc")
def test_the_flow_under_the_command_of_the_engine_has_one_blas_thread(tmp_path):
    """The engine imports a module that imports the flow, and builds the dataflow in it."""
    (tmp_path / "probe.py").write_text(
        "from flows.fusion import flow as build\n"
        f"{THREADS}\n"
        "def flow(): raise SystemExit(0)\n"
    )  # fmt: skip
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    found = run_python("-m", "bytewax.run", "probe:flow()", PYTHONPATH=path)
    assert found.splitlines()[-1] == "threads 1 1"
